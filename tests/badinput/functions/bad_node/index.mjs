// Handlers that misbehave on purpose, one for each `?do=`; without it a good answer. Run by the tests beside it.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';

const kept = [];
const MIB = 1 << 20;
const never = () => new Promise(() => {});

const actions = {
  raise() {
    console.log('before it fails');
    throw new TypeError('the secret of the cellar');
  },
  throw_nothing() { throw undefined; },
  function: () => () => 1,
  nan: () => ({ x: NaN }),
  bigint: () => ({ x: 1n }),
  circular() {
    const one = {};
    one.self = one;
    return one;
  },
  deep() {
    let one = [];
    for (let i = 0; i < 100_000; i++) one = [one];
    return one;
  },
  large: ({ mib }) => ({ statusCode: 200, body: Buffer.alloc(mib * MIB, 'x') }),
  header: ({ name, value }) => ({ statusCode: 200, headers: { [name]: value }, body: 'ok' }),
  headers({ count = 1, size = 1, text = 'v' }) {
    const headers = {};
    for (let i = 0; i < count; i++) headers[`x-h${i}`] = text.repeat(size);
    return { statusCode: 200, headers, body: 'ok' };
  },
  print({ mib }) {
    const line = 'y'.repeat(1023);
    for (let i = 0; i < mib * 1024; i++) console.log(line);
    return 'printed';
  },
  print_once({ mib }) {
    console.log('z'.repeat(mib * MIB));
    return 'printed';
  },
  exit: ({ code = 3 }) => process.exit(Number(code)),
  really_exit: ({ code = 3 }) => process.reallyExit(Number(code)),
  abort: () => process.abort(),
  async signal({ number }) {
    process.kill(process.pid, Number(number));
    await never();
  },
  recurse: () => actions.recurse(),
  stray_error() {
    setTimeout(() => { throw new Error('thrown by nobody'); }, 1);
    return never();
  },
  stray_rejection() {
    Promise.reject(new Error('rejected by nobody'));
    return never();
  },
  never,
  spin() { for (;;); },
  async eat({ mib }) {
    for (let i = 0; i < mib; i++) kept.push(Array.from({ length: MIB / 8 }, (_, j) => j + 0.5));
    return kept.length;
  },
  async eat_buffers({ mib }) {
    for (let i = 0; i < mib; i++) kept.push(Buffer.alloc(MIB, 'm'));
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    return kept.length;
  },
  async open({ count }) {
    for (let made = 0; made < count; made++) {
      try {
        kept.push(fs.openSync('/dev/null'));
      } catch (error) {
        return { made, error: error.code };
      }
    }
    return { made: Number(count), error: '' };
  },
  async fork({ count }) {
    for (let made = 0; made < count; made++) {
      const child = spawn('/bin/sleep', ['3600'], { stdio: 'ignore', detached: true });
      const error = await new Promise((resolve) => child.on('spawn', () => resolve('')).on('error', resolve));
      if (error) return { made, error: error.code };
    }
    return { made: Number(count), error: '' };
  },
  close_all() {
    for (let fd = 0; fd < 64; fd++) {
      try { fs.closeSync(fd); } catch { /* not open */ }
    }
    return 'closed';
  },
  garbage_on_sockets({ text = 'garbage' }) {
    for (const name of fs.readdirSync('/proc/self/fd')) {
      try {
        if (fs.fstatSync(Number(name)).isSocket()) fs.writeSync(Number(name), text);
      } catch { /* not one to write to */ }
    }
    return never();
  },
  prototype_pollution() {
    Object.prototype.statusCode = 200;
    Object.prototype['x-fn-not-started'] = '1';
    Array.prototype.push = () => { throw new Error('no push'); };
    return { ok: true };
  },
  patched_http() {
    net.Socket.prototype.write = () => true;
    return 'silent';
  },
};

export const handler = async (event) => {
  const { do: what, ...query } = event.queryStringParameters ?? {};
  return what ? actions[what](query) : { pid: process.pid };
};

'use strict';
// The functions under test, in Node. handlers.py has the same names and does the same.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const { Readable } = require('node:stream');

const BIG = Buffer.alloc(65536, 'x');
const pause = () => new Promise((resolve) => { setTimeout(resolve, 5); });
const touch = (path) => fs.writeFileSync(path, '');

async function waitFor(path, signal) {
  while (!fs.existsSync(path)) {
    if (signal?.aborted) return false;
    await pause();
  }
  return true;
}

exports.hello = () => ({ statusCode: 200, body: 'hello' });
exports.echo = (event) => event;
exports.echo_async = async (event) => event;
exports.context_of = async (event, context) => ({
  name: context.functionName,
  version: context.functionVersion,
  memory: context.memoryLimitInMB,
  request: context.awsRequestId,
  trace: context.traceId,
  remaining: context.getRemainingTimeInMillis(),
});
exports.binary = () => ({ statusCode: 200, body: Uint8Array.from({ length: 256 }, (_, i) => i) });
exports.nothing = () => undefined;

class ValueError extends Error {
  constructor(message) {
    super(message);
    this.name = 'ValueError';
  }
}
exports.fails = () => { throw new ValueError('no luck'); };
exports.fails_async = async () => { throw new ValueError('no luck'); };
exports.exits = () => process.exit(3);
exports.stray = async (event) => {
  setTimeout(() => { throw new ValueError('from a timer'); }, 0);
  await waitFor(event.gate);
};
const kept = [];
exports.keeps_files = (event) => {
  try {
    for (;;) kept.push(fs.openSync('/dev/null'));
  } catch (error) {
    kept.splice(-event.but).forEach((descriptor) => fs.closeSync(descriptor));
    return error.code;
  }
};
exports.circular = () => {
  const value = {};
  value.self = value;
  return value;
};
exports.not_json = () => 10n;

exports.stream = async function* stream(event) {
  yield 'one';
  await waitFor(event.gate);
  yield 'two';
};
exports.stream_async = (event) => new ReadableStream({
  async start(controller) {
    controller.enqueue('one');
    await waitFor(event.gate);
    controller.enqueue('two');
    controller.close();
  },
});
exports.returned_stream = () => Readable.from(['a', '', 'b']);
exports.stream_with_head = async function* head() {
  yield { statusCode: 202, headers: { 'x-kind': 'mine', 'content-type': 'text/csv' }, cookies: ['a=1', 'b=2'] };
  yield '1,2\n';
  yield Buffer.from('3,4\n');
};
exports.stream_of_json = function* json() {
  yield { n: 1 };
  yield { n: 2 };
};
exports.endless = async function* endless() {
  for (;;) yield 'again';
};
exports.stream_204 = function* empty() {
  yield { statusCode: 204 };
  yield 'not to be seen';
};
exports.empty_stream = async function* empty() {};
exports.stream_fails = async function* fails() {
  yield 'one';
  throw new ValueError('no luck');
};
exports.stream_fails_first = async function* fails() { // eslint-disable-line require-yield
  throw new ValueError('no luck');
};
exports.big_stream = async function* big(event) {
  for (let number = 0; number < event.chunks; number++) {
    yield BIG;
    fs.writeFileSync(event.progress, String(number));
  }
};
exports.waits = async (event, context) => {
  touch(event.started);
  if (!await waitFor(event.gate, context.signal)) touch(event.cancelled);
  return 'done';
};
exports.waits_sync = async (event) => { // does not listen to its signal: as little to be stopped as a thread
  touch(event.started);
  await waitFor(event.gate);
  return 'done';
};
exports.prints = (event) => {
  console.log('to stdout', event.n ?? '');
  console.error('to stderr');
  process.stdout.write('partial');
  return 'ok';
};
exports.prints_partial = async (event) => {
  process.stdout.write('half a line');
  await waitFor(event.gate);
  return 'ok';
};
exports.prints_long = () => console.log('é'.repeat(100_000));
exports.prints_raw = () => execFileSync('echo', ['raw line'], { stdio: 'inherit' }) && undefined;

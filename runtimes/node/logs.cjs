'use strict';
// What the user's code prints, as framed lines that carry the trace of their request.
//
// A frame is the byte 0x1e, compact JSON {"t": unix seconds, "s": "stdout"|"stderr", "m": line, "trace"?, "req"?} and a
// newline, on the original fd 1 or 2. What child processes write to the fds passes through unframed.
// A write blocks while the reader is slow, the event loop included: losing lines, or buffering them without a
// bound, would both be worse, and the readers (files, Docker's log driver) keep up.

const { AsyncLocalStorage } = require('node:async_hooks');
const fs = require('node:fs');
const { Writable } = require('node:stream');
const { StringDecoder } = require('node:string_decoder');

const LINE_LIMIT_BYTES = 64 * 1024;
const SLICE = 256 * 1024; // text is framed in slices of this size: a handler's 100 MB must not become several times that
const PARTIAL_MS = 200;
const FDS = { stdout: 1, stderr: 2 };

/** Where printed text belongs: one request, or the process itself. Holds its unfinished lines. */
class Scope {
  constructor(trace, req, call) {
    this.trace = trace || undefined; // left out of the frame when there is none
    this.req = req || undefined;
    this.call = call;
    this.partial = { stdout: '', stderr: '' };
    this.timer = null;
  }

  write(stream, text) {
    const lines = (this.partial[stream] + text).split('\n');
    let rest = lines.pop();
    if (rest.length > LINE_LIMIT_BYTES) {
      const cut = pieces(rest);
      rest = cut.pop();
      lines.push(...cut);
    }
    if (lines.length) this.emit(stream, lines);
    this.partial[stream] = rest;
    if (rest && !this.timer) {
      this.timer = setTimeout(() => this.flush(), PARTIAL_MS);
      this.timer.unref();
    }
  }

  /** Let the partial lines go now. */
  flush() {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    for (const stream of ['stdout', 'stderr']) {
      const text = this.partial[stream];
      this.partial[stream] = '';
      if (text) this.emit(stream, [text]);
    }
  }

  emit(stream, lines) {
    const t = Date.now() / 1000;
    let frames = '';
    for (const line of lines) {
      for (const m of line.length > LINE_LIMIT_BYTES / 4 ? pieces(line) : [line]) {
        frames += `\x1e${JSON.stringify({ t, s: stream, m, trace: this.trace, req: this.req })}\n`;
      }
    }
    writeAll(FDS[stream], Buffer.from(frames));
  }
}

function pieces(line) {
  const bytes = Buffer.from(line);
  const out = [];
  let start = 0;
  while (bytes.length - start > LINE_LIMIT_BYTES) {
    let end = start + LINE_LIMIT_BYTES;
    while ((bytes[end] & 0xc0) === 0x80) end--; // between characters
    out.push(bytes.toString('utf8', start, end));
    start = end;
  }
  out.push(bytes.toString('utf8', start));
  return out;
}

function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length;) {
    try {
      done += fs.writeSync(fd, bytes, done);
    } catch (error) {
      if (error.code !== 'EAGAIN') return; // the reader is gone; the user's code must not fail because of it
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // somebody made the pipe non-blocking
    }
  }
}

const scopes = new AsyncLocalStorage();
const processScope = new Scope();
const current = () => scopes.getStore() ?? processScope;

/** Stands in for process.stdout or process.stderr; the real ones are never made. */
class FramedStream extends Writable {
  constructor(stream) {
    super({ decodeStrings: false });
    this.name = stream;
    this.fd = FDS[stream];
    this.decoder = new StringDecoder('utf8');
  }

  write(data, encoding, done) {
    if (typeof encoding === 'function') [encoding, done] = [undefined, encoding];
    if (typeof data !== 'string') data = this.decoder.write(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    else if (encoding && !/^utf-?8$/i.test(encoding)) data = Buffer.from(data, encoding).toString('utf8');
    for (let start = 0; start < data.length;) {
      let end = start + SLICE;
      if (/[\ud800-\udbff]/.test(data[end - 1] ?? '')) end++; // between characters
      current().write(this.name, start || end < data.length ? data.slice(start, end) : data);
      start = end;
    }
    if (typeof done === 'function') process.nextTick(done);
    return true;
  }

  end() {
    return this; // other requests print here too
  }

  destroy() {
    return this;
  }
}

/** Replace process.stdout and process.stderr, and so console.* too. */
function install() {
  for (const stream of ['stdout', 'stderr']) {
    const framed = new FramedStream(stream);
    Object.defineProperty(process, stream, { configurable: true, enumerable: true, get: () => framed });
  }
}

/** Print an error with its stack, in the log only. */
function report(error) {
  let text;
  try {
    text = require('node:util').inspect(error);
  } catch {
    text = 'an error whose text could not be made';
  }
  process.stderr.write(`${text}\n`);
}

module.exports = { Scope, current, install, processScope, report, scopes };

'use strict';
// The Node server: load the user's module, listen, admit calls up to the concurrency, drain on SIGTERM.
// Started as `node serve.cjs --listen ... --app DIR --file index.js`; Node 18 or newer, no packages.

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { Call } = require('./calls.cjs');
const loading = require('./loading.cjs');
const logs = require('./logs.cjs');
const options = require('./options.cjs');
const replies = require('./replies.cjs');

const HEAD_LIMIT_BYTES = 256 * 1024;
const STRAGGLERS_MS = 50; // how long idle connections are still answered, with "not started", when draining is done
const DISCARD_MS = 2000; // how long the rest of a refused request is read, so that the refusal is not lost in a reset
const CHECK_MS = 1000; // how soon after a call it is seen that it has left no file descriptors
const SPARE_DESCRIPTORS = 16; // with fewer a server cannot go on: a probe that ends frees one, and takes it again
const BACKLOG = 1024;
const READY = { status: 200, headers: [['content-type', 'text/plain']], body: Buffer.from('ok') };
const exit = process.exit.bind(process);

class Server {
  constructor(opts, handler, failure) {
    this.options = opts;
    this.handler = handler;
    this.failure = failure;
    this.draining = false;
    this.running = new Set();
    this.checkTimer = null;
    this.http = http.createServer({ maxHeaderSize: HEAD_LIMIT_BYTES, keepAliveTimeout: 0, requestTimeout: 0 });
    this.http.headersTimeout = 0;
    this.http.on('request', (request, response) => this.receive(request, response));
  }

  listen() {
    const [, kind, address] = /^(unix|tcp):(.*)$/.exec(this.options.listen);
    if (kind === 'unix') {
      fs.rmSync(address, { force: true }); // of an earlier process: nobody else may use this path
      this.http.listen({ path: address, backlog: BACKLOG });
    } else {
      const colon = address.lastIndexOf(':');
      const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
      this.http.listen({ host, port: Number(address.slice(colon + 1)), backlog: BACKLOG });
    }
  }

  receive(request, response) {
    const limit = this.options.maxBodyBytes;
    const tooLarge = () => this.refuse(request, response, limit);
    if (Number(request.headers['content-length'] ?? 0) > limit) {
      tooLarge();
      return;
    }
    const pieces = [];
    let bytes = 0;
    request.on('data', (piece) => {
      bytes += piece.length;
      if (bytes <= limit) pieces.push(piece);
      else if (!response.headersSent) tooLarge();
    });
    request.on('error', () => {}); // the response's close tells the call
    request.on('end', () => {
      if (!response.headersSent) this.begin(request, response, pieces.length === 1 ? pieces[0] : Buffer.concat(pieces));
    });
  }

  refuse(request, response, limit) {
    response.shouldKeepAlive = false;
    const message = `the body of the request is larger than ${limit} bytes`;
    this.answer(request, response, replies.ofError(413, 'BodyTooLarge', message));
    request.resume();
    setTimeout(() => request.socket.destroy(), DISCARD_MS).unref();
  }

  begin(request, response, body) {
    const reply = this.ownAnswer(request.url);
    if (reply) {
      this.answer(request, response, reply);
      return;
    }
    const call = new Call(this, request, response, body);
    this.running.add(call);
    call.start();
  }

  /** The answer to what is not for the handler, or may not reach it now. */
  ownAnswer(url) {
    const ready = url === '/.fnmesh/ready';
    if (url.startsWith('/.fnmesh/') && !ready && url !== '/.fnmesh/invoke') {
      return replies.ofError(404, 'NotFound', 'there is no such internal path');
    }
    if (!url.startsWith('/')) return replies.ofError(400, 'BadRequest', 'the target of a request is a path');
    if (this.draining) return replies.notStarted('this instance is shutting down');
    if (ready) return this.failure ?? READY;
    if (this.failure) return replies.notStarted("the function's module could not be loaded");
    if (this.running.size < this.options.concurrency) return null;
    return replies.notStarted('all slots of this instance are in use');
  }

  writeHead(request, response, reply) {
    response.sendDate = false; // Envoy has its own
    if (this.draining) response.shouldKeepAlive = false;
    response.writeHead(reply.status, reply.headers.flat());
  }

  /** Send a whole response. */
  answer(request, response, reply) {
    const { status, body } = reply;
    const headers = [...reply.headers];
    const bodiless = status === 204 || status === 304;
    if (!bodiless) headers.push(['content-length', String(reply.announced ?? body.length)]);
    this.writeHead(request, response, { status, headers });
    response.end(bodiless || request.method === 'HEAD' ? undefined : body);
  }

  ended(call) {
    this.running.delete(call);
    this.checkTimer ??= setTimeout(() => this.checkDescriptors(), CHECK_MS).unref();
    if (this.draining && !this.running.size) this.drained(0);
  }

  /** Without file descriptors no connection can be accepted: this instance ends, and another takes its place. */
  checkDescriptors() {
    this.checkTimer = null;
    const opened = [];
    try {
      while (opened.length < SPARE_DESCRIPTORS) opened.push(fs.openSync('/dev/null'));
    } catch (error) {
      if (error.code !== 'EMFILE' && error.code !== 'ENFILE') return;
      process.stderr.write('No file descriptors are left for the server of this function: it ends and is replaced.\n');
      this.drain();
    } finally {
      opened.forEach((descriptor) => fs.closeSync(descriptor));
    }
  }

  drain() {
    if (this.draining) return;
    this.draining = true;
    net.Server.prototype.close.call(this.http); // http's own close would also cut the idle connections off
    setTimeout(() => this.drained(1), this.options.drainMs);
    if (!this.running.size) this.drained(0);
  }

  drained(code) {
    setTimeout(() => {
      logs.processScope.flush();
      exit(code);
    }, STRAGGLERS_MS);
  }
}

/** Errors that no call's promise carries: they fail the call they came from, if it is known, and no other. */
function catchStrays() {
  const stray = (error) => {
    const { call } = logs.current();
    if (call && !call.ended) call.fail(error);
    else logs.report(error);
  };
  process.on('uncaughtException', stray);
  process.on('unhandledRejection', stray);
  process.exit = (code) => { // one call must not end the others
    const error = new Error(`the handler called process.exit(${code ?? ''})`);
    error.name = 'ProcessExit';
    throw error;
  };
}

async function main(argv) {
  const opts = options.parse(argv);
  logs.install();
  catchStrays();
  let handler;
  let failure = null;
  try {
    handler = await loading.load(opts.app, opts.file, opts.handler);
  } catch (error) {
    logs.report(error);
    const { body } = replies.ofThrown(error);
    failure = { status: 500, headers: [['content-type', 'application/json']], body };
    // Stays up for a while, so that whoever waits for readiness can read why it will not come.
    setTimeout(() => exit(1), opts.failureLingerMs);
  }
  const server = new Server(opts, handler, failure);
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => (failure ? exit(1) : server.drain()));
  }
  server.listen();
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`serve.cjs: ${error.message}\n`);
  exit(2);
});

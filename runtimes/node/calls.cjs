'use strict';
// One call of the handler: from the request, through the user's code, to the end of its answer.

const events = require('./events.cjs');
const logs = require('./logs.cjs');
const replies = require('./replies.cjs');

const CANCEL_GRACE_MS = 250; // how long a handler may clean up after its signal before its slot counts as stuck

/** The second argument of a handler. `signal` is aborted when nobody waits for the answer any more. */
class Context {
  #deadline;
  #call;

  constructor(options, found, deadline, call) {
    this.functionName = options.function;
    this.functionVersion = options.revision;
    this.memoryLimitInMB = options.memoryMb;
    this.invokedFunctionArn = `fnmesh:function:${options.function}:${options.revision}`;
    this.logGroupName = `/fnmesh/${options.function}`;
    this.logStreamName = options.revision;
    this.awsRequestId = found.requestId;
    this.traceId = found.traceId;
    this.#deadline = deadline;
    this.#call = call;
  }

  get signal() {
    return this.#call.signal();
  }

  getRemainingTimeInMillis() {
    return Math.max(0, Math.floor(this.#deadline - performance.now()));
  }
}

/** A running call. It keeps its slot until the user's code has really ended: a promise cannot be stopped. */
class Call {
  constructor(server, request, response, body) {
    this.server = server;
    this.request = request;
    this.response = response;
    this.body = body;
    this.found = events.envelope(request.rawHeaders);
    this.abort = null; // made when a handler asks for its signal: few do
    this.scope = new logs.Scope(this.found.traceId, this.found.requestId, this);
    this.closed = false; // nothing more may be sent
    this.stopped = false;
    this.expired = false;
    this.ended = false;
    const limit = server.options.timeoutMs;
    const allowed = this.found.timeoutMs > 0 ? Math.min(limit, this.found.timeoutMs) : limit;
    this.deadline = performance.now() + allowed;
    this.timer = setTimeout(() => this.expire(), allowed);
    response.on('close', () => this.disconnected());
  }

  start() {
    logs.scopes.run(this.scope, () => {
      this.run().then((reply) => this.end(reply), (error) => this.fail(error));
    });
  }

  event() {
    if (this.request.url === '/.fnmesh/invoke' || this.server.options.eventFormat === 'body') {
      return events.jsonEvent(this.body);
    }
    return events.httpEvent(this.request, this.body, this.found);
  }

  async run() {
    const context = new Context(this.server.options, this.found, this.deadline, this);
    const result = await this.server.handler(this.event(), context);
    const items = iteratorOf(result);
    if (!items) return replies.ofResult(result);
    await this.stream(items);
    return null;
  }

  async stream(items) {
    let first = true;
    let complete = false;
    try {
      for (;;) {
        const { done, value } = await items.next();
        if (done || this.stopped) {
          complete = done;
          return;
        }
        const [head, content] = first ? replies.streamStart(value) : [null, replies.streamItem(value)];
        first = false;
        if (head) {
          this.server.writeHead(this.request, this.response, head);
          if (this.request.method === 'HEAD' || head.status === 204 || head.status === 304) {
            this.response.end();
            return; // nobody will see what it yields
          }
        }
        if (content.length && !this.response.write(content)) {
          await drained(this.response);
        } else if (head && !content.length) this.response.flushHeaders();
      }
    } finally {
      if (!complete) await items.return?.();
    }
  }

  fail(error) {
    if (this.ended) return;
    if (error instanceof events.EventInvalid) {
      this.end(replies.ofError(400, 'InvalidJson', error.message, this.found.traceId));
      return;
    }
    if (!this.stopped) {
      logs.scopes.run(this.scope, () => {
        if (error instanceof replies.ResultInvalid) process.stderr.write(`${error.message}\n`);
        else logs.report(error);
      });
    }
    this.end(replies.ofThrown(error, this.found.traceId), true);
  }

  /** The user's code has ended: answer if nobody has yet, and give the slot back. */
  end(reply, failed = false) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    this.scope.flush();
    if (this.expired) this.answerTimeout('cancelled');
    else if (!this.closed) {
      this.closed = true;
      if (this.response.headersSent) this.endStream(!failed);
      else this.server.answer(this.request, this.response, reply ?? { status: 200, headers: [], body: Buffer.alloc(0) });
    }
    this.server.ended(this);
  }

  /** A body that is not complete ends with the connection, so that the client can tell. */
  endStream(complete) {
    if (complete) this.response.end();
    else this.response.socket?.destroySoon();
  }

  expire() {
    this.expired = true;
    this.stop();
    setTimeout(() => this.answerTimeout('stuck'), CANCEL_GRACE_MS);
  }

  answerTimeout(how) {
    if (this.closed) return;
    this.closed = true;
    if (this.response.headersSent) {
      this.endStream(false);
      return;
    }
    const message = 'the handler did not finish in its time';
    const reply = replies.ofError(504, 'Timeout', message, this.found.traceId, [['x-fn-timeout', how]]);
    this.server.answer(this.request, this.response, reply);
  }

  /** The response is over: sent, or its client has gone. */
  disconnected() {
    this.closed = true;
    if (!this.ended) this.stop();
  }

  stop() {
    this.stopped = true;
    this.abort?.abort();
  }

  signal() {
    this.abort ??= new AbortController();
    if (this.stopped) this.abort.abort();
    return this.abort.signal;
  }
}

/** Wait until the client has taken enough of what was written, or has gone. */
function drained(response) {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
    if (response.destroyed) done();
  });
}

/** What yields the items of a streaming result: generators, iterators, Node and web streams; else nothing. */
function iteratorOf(result) {
  if (result === null || typeof result !== 'object') return null;
  if (typeof result[Symbol.asyncIterator] === 'function') return result[Symbol.asyncIterator]();
  return typeof result.next === 'function' && typeof result[Symbol.iterator] === 'function' ? result : null;
}

module.exports = { Call };

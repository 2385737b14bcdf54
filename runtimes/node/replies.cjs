'use strict';
// Turns what a handler returned, yielded or threw into a response: {status, headers: [[name, value]...], body: Buffer}.
// Nothing of the user's reaches the wire unchecked: a bad header or a value that is not JSON is a ResultInvalid.

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const OURS = new Set([
  'connection', 'content-length', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);
const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain; charset=utf-8';
const BYTES_TYPE = 'application/octet-stream';
const NDJSON_TYPE = 'application/x-ndjson';
const NOTHING = Buffer.alloc(0);

/** The handler's result cannot be sent; the text says what is wrong with it. */
class ResultInvalid extends Error {
  constructor(message) {
    super(message);
    this.name = 'ResultInvalid';
  }
}

const isShape = (value) => value !== null && typeof value === 'object' && Number.isInteger(value.statusCode);

/** The response to a returned value: {statusCode, ...}, or any JSON value as a 200. */
function ofResult(result) {
  if (!isShape(result)) return { status: 200, headers: [['content-type', JSON_TYPE]], body: json(result) };
  const { headers, typed, announced } = headersOf(result);
  const [body, kind] = contentOf(result);
  if (!typed && body.length) headers.push(['content-type', kind]);
  return { status: statusOf(result), headers, body, announced: body.length ? undefined : announced };
}

/** The head of a streamed response, and the first bytes of its body, from the first item yielded. */
function streamStart(first) {
  if (!isShape(first)) {
    const kind = typeof first === 'string' ? TEXT_TYPE : isBytes(first) ? BYTES_TYPE : NDJSON_TYPE;
    return [{ status: 200, headers: [['content-type', kind]] }, streamItem(first)];
  }
  const { headers, typed } = headersOf(first);
  const [body, kind] = contentOf(first);
  if (!typed && kind) headers.push(['content-type', kind]);
  return [{ status: statusOf(first), headers }, body];
}

/** The bytes of one yielded item: strings and bytes as they are, any other value as a line of JSON. */
function streamItem(item) {
  if (typeof item === 'string') return Buffer.from(item);
  if (isBytes(item)) return bytesOf(item);
  return Buffer.concat([json(item), Buffer.from('\n')]);
}

/** The JSON error body. */
function ofError(status, errorType, errorMessage, traceId, extra = []) {
  const body = Buffer.from(JSON.stringify({ errorType, errorMessage, trace_id: traceId || null }));
  return { status, headers: [['content-type', JSON_TYPE], ...extra], body };
}

/** The 500 of an error that left the handler: its name and text, never its stack. */
function ofThrown(error, traceId) {
  let [kind, message] = ['Error', '(its text could not be made)'];
  try {
    if (error instanceof Error || (error && typeof error.message === 'string')) {
      [kind, message] = [String(error.name || error.constructor?.name || 'Error'), String(error.message)];
    } else message = String(error);
  } catch { /* the user's getters are the user's code */ }
  return ofError(500, kind, message, traceId, [['x-fn-error', 'handler']]);
}

/** The 503 that says nothing of the user's has run, so that the call may go elsewhere. */
function notStarted(message) {
  return ofError(503, 'NotStarted', message, '', [['x-fn-not-started', '1']]);
}

function statusOf({ statusCode }) {
  if (statusCode >= 200 && statusCode <= 599) return statusCode;
  throw new ResultInvalid(`statusCode is ${statusCode}: it must be between 200 and 599`);
}

function contentOf(shape) {
  const { body } = shape;
  if (body === undefined || body === null) return [NOTHING, ''];
  if (typeof body === 'string' && shape.isBase64Encoded) {
    if (!BASE64.test(body)) throw new ResultInvalid('isBase64Encoded is true, but body is not base64');
    return [Buffer.from(body, 'base64'), BYTES_TYPE];
  }
  if (typeof body === 'string') return [Buffer.from(body), TEXT_TYPE];
  if (isBytes(body)) return [bytesOf(body), BYTES_TYPE];
  return [json(body), JSON_TYPE];
}

const isBytes = (value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
const bytesOf = (value) => (ArrayBuffer.isView(value)
  ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value));

function json(value) {
  let text;
  try {
    text = JSON.stringify(value === undefined ? null : value);
  } catch (error) {
    throw new ResultInvalid(`the handler's result is not JSON: ${error.message.split('\n', 1)[0]}`);
  }
  if (text === undefined) throw new ResultInvalid(`the handler's result is not JSON: it is a ${typeof value}`);
  return Buffer.from(text);
}

function headersOf(shape) {
  const several = mapping(shape, 'multiValueHeaders');
  const replaced = new Set(Object.keys(several).map((name) => name.toLowerCase()));
  const single = Object.entries(mapping(shape, 'headers')).filter(([name]) => !replaced.has(name.toLowerCase()));
  const out = { headers: [], typed: false, announced: undefined };
  for (const [name, value] of [...single, ...Object.entries(several)]) {
    const key = name.toLowerCase();
    if (!TOKEN.test(key)) throw new ResultInvalid(`the header name ${JSON.stringify(name)} is not valid`);
    if (key === 'content-length' && /^\d+$/.test(String(value))) out.announced = Number(value);
    if (OURS.has(key) || key.startsWith('x-fn-')) continue;
    out.typed ||= key === 'content-type';
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) out.headers.push([key, headerValue(key, one)]);
    }
  }
  const cookies = shape.cookies ?? [];
  for (const cookie of Array.isArray(cookies) ? cookies : [cookies]) {
    out.headers.push(['set-cookie', headerValue('set-cookie', cookie)]);
  }
  return out;
}

function mapping(shape, key) {
  const value = shape[key] ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return value;
  throw new ResultInvalid(`${key} must be an object`);
}

function headerValue(name, value) {
  if (!['string', 'number', 'boolean'].includes(typeof value)) {
    throw new ResultInvalid(`the header ${name} is a ${typeof value}: it must be a string, number or list of them`);
  }
  const text = String(value);
  if (CONTROL.test(text)) throw new ResultInvalid(`the value of the header ${name} has a control character`);
  // Node writes header strings as Latin-1: text beyond that goes out as the bytes of its UTF-8.
  return /[^\x00-\xff]/.test(text) ? Buffer.from(text.trim()).toString('latin1') : text.trim();
}

module.exports = { ResultInvalid, notStarted, ofError, ofResult, ofThrown, streamItem, streamStart };

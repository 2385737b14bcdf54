'use strict';
// Turns a request into the event of the handler: AWS Lambda's for function URLs, payload format 2.0
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads), as the Python server does.

const { randomUUID } = require('node:crypto');
const { isUtf8 } = require('node:buffer');
const querystring = require('node:querystring');

const TEXT_TYPES = new Set([
  'application/json', 'application/xml', 'application/javascript', 'application/x-javascript',
  'application/ecmascript', 'application/x-www-form-urlencoded', 'application/x-ndjson', 'application/graphql',
]);
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** The body should have been JSON and is not. */
class EventInvalid extends Error {}

/** What the headers say: those for the handler, and those of the platform (x-fn-*), which the handler never sees. */
function envelope(rawHeaders) {
  const found = { headers: {}, cookies: [], requestId: '', traceId: '', timeoutMs: 0 };
  const headers = found.headers;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i].toLowerCase();
    const value = rawHeaders[i + 1];
    if (name.startsWith('x-fn-')) {
      if (name === 'x-fn-timeout-ms' && /^\d+$/.test(value)) found.timeoutMs = Number(value);
      else if (name === 'x-fn-request-id') found.requestId = value;
    } else if (name === 'cookie') {
      found.cookies.push(...value.split(';').map((cookie) => cookie.trim()).filter(Boolean));
    } else if (Object.hasOwn(headers, name)) {
      headers[name] += `,${value}`;
    } else {
      Object.defineProperty(headers, name, { value, writable: true, enumerable: true, configurable: true });
      if (name === 'traceparent') found.traceId = traceIdOf(value);
    }
  }
  found.requestId ||= randomUUID();
  return found;
}

/** The trace id in a W3C traceparent, or nothing if it is not one. */
function traceIdOf(traceparent) {
  const match = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[^-]+-/.exec(`${traceparent}-`);
  return match ? match[1] : '';
}

/** The JSON value in `body`, or {} for an empty one. */
function jsonEvent(body) {
  if (!body.length) return {};
  if (!isUtf8(body)) throw new EventInvalid('the body is not JSON: it is not UTF-8');
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new EventInvalid(`the body is not JSON: ${error.message}`);
  }
}

/** The payload 2.0 event; absent parts (cookies, query, body) are absent, as AWS leaves them. */
function httpEvent(request, body, found) {
  const { headers } = found;
  const mark = request.url.indexOf('?');
  const path = mark < 0 ? request.url : request.url.slice(0, mark);
  const query = mark < 0 ? '' : request.url.slice(mark + 1);
  const now = Date.now();
  const domain = (headers.host ?? '').replace(/:\d+$/, '');
  const prefix = domain.split('.', 1)[0];
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    headers,
    requestContext: {
      accountId: 'anonymous',
      apiId: prefix,
      domainName: domain,
      domainPrefix: prefix,
      http: {
        method: request.method,
        path,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp: (headers['x-forwarded-for'] ?? '').split(',', 1)[0].trim(),
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: found.requestId,
      routeKey: '$default',
      stage: '$default',
      time: clf(now),
      timeEpoch: now,
    },
    isBase64Encoded: false,
  };
  if (found.cookies.length) event.cookies = found.cookies;
  if (query) event.queryStringParameters = queryParameters(query);
  if (body.length) [event.body, event.isBase64Encoded] = bodyText(body, headers);
  return event;
}

/** The body as a string, and whether it is base64: text of a known type stays text, all else does not. */
function bodyText(body, headers) {
  const kind = (headers['content-type'] ?? '').split(';', 1)[0].trim().toLowerCase();
  const text = kind.startsWith('text/') || TEXT_TYPES.has(kind) || kind.endsWith('+json') || kind.endsWith('+xml');
  if (text && !('content-encoding' in headers) && isUtf8(body)) return [body.toString('utf8'), false];
  return [body.toString('base64'), true];
}

/** Decoded parameters of a query string; repeated ones are joined with commas. */
function queryParameters(query) {
  const parameters = new Map();
  for (const pair of query.split('&')) {
    if (!pair) continue;
    const equals = pair.indexOf('=');
    const decode = (text) => querystring.unescape(text.replaceAll('+', ' '));
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = equals < 0 ? '' : decode(pair.slice(equals + 1));
    parameters.set(name, parameters.has(name) ? `${parameters.get(name)},${value}` : value);
  }
  return Object.fromEntries(parameters);
}

function clf(ms) {
  const at = new Date(ms);
  const two = (number) => String(number).padStart(2, '0');
  return `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}`
    + `:${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

module.exports = { EventInvalid, envelope, httpEvent, jsonEvent };

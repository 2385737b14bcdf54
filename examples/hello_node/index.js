'use strict';
// Says hello to whoever is named: `/api/hello-node?name=Ada`, a JSON body, or `fnmesh invoke ... -d '{"name": "Ada"}'`.

exports.handler = async (event, context) => {
  const name = named(event) ?? 'world';
  console.log(`saying hello to ${name}`); // shown by `fnmesh logs`, with the trace of this request
  return { message: `Hello, ${name}!`, from: context.functionName, trace_id: context.traceId };
};

/** The name in an HTTP event's query or JSON body, or in the event of a direct invoke. */
function named(event) {
  if (event.version !== '2.0') return event.name;
  const body = event.body ? JSON.parse(event.body) : {};
  return event.queryStringParameters?.name ?? body.name;
}

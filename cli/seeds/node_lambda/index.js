// The Node example: says what it was called with.
exports.handler = async (event) => {
  const http = (event.requestContext || {}).http || {};
  console.log("called with", http.method || "an event");
  return {
    statusCode: 200,
    headers: { "content-type": "application/json" },
    body: { language: "node", greeting: process.env.GREETING || "Hello", method: http.method },
  };
};

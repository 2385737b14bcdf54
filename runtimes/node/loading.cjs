'use strict';
// Imports the user's module, CommonJS or ESM, and finds its handler.

const path = require('node:path');
const { pathToFileURL } = require('node:url');

/** The handler function `name` of `file` below `app`; rejects with what the import threw, or what is missing. */
async function load(app, file, name) {
  const module = await importAny(path.resolve(app, file));
  const handler = module?.[name] ?? module?.default?.[name];
  if (typeof handler === 'function') return handler;
  const error = new Error(handler === undefined
    ? `${file} has no ${name}: write exports.${name} = async (event, context) => ... in it`
    : `${name} is not a function`);
  error.name = 'HandlerInvalid';
  throw error;
}

async function importAny(file) {
  if (!file.endsWith('.mjs')) {
    try {
      return require(file);
    } catch (error) {
      if (error?.code !== 'ERR_REQUIRE_ESM' && error?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    }
  }
  return import(pathToFileURL(file).href);
}

module.exports = { load };

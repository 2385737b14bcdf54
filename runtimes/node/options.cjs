'use strict';
// The command line of the server: the same words as the Python server's. Never the environment.

const TEXT = {
  '--listen': 'listen', '--app': 'app', '--file': 'file', '--handler': 'handler', '--event-format': 'eventFormat',
  '--function': 'function', '--revision': 'revision', '--lib': 'lib', '--packages': 'packages',
};
const NUMBER = {
  '--concurrency': 'concurrency', '--timeout-ms': 'timeoutMs', '--memory-mb': 'memoryMb',
  '--max-body-bytes': 'maxBodyBytes', '--drain-ms': 'drainMs', '--failure-linger-ms': 'failureLingerMs',
};

/** The options in `argv` (`--name value` or `--name=value`); throws an Error that says what to change. */
function parse(argv) {
  const options = {
    listen: '', app: '', file: '', handler: 'handler', eventFormat: 'v2', function: '', revision: '', lib: '',
    packages: '', concurrency: 10, timeoutMs: 30_000, memoryMb: 256, maxBodyBytes: 1024 * 1024 * 1024,
    drainMs: 30_000, failureLingerMs: 30_000,
  };
  for (let i = 0; i < argv.length; i++) {
    const equals = argv[i].indexOf('=');
    const name = equals < 0 ? argv[i] : argv[i].slice(0, equals);
    const value = equals < 0 ? argv[++i] ?? '' : argv[i].slice(equals + 1);
    if (Object.hasOwn(TEXT, name)) options[TEXT[name]] = value;
    else if (!Object.hasOwn(NUMBER, name)) throw new Error(`unknown option ${name}`);
    else if (!/^\d+$/.test(value)) throw new Error(`${name} wants a whole number, not ${JSON.stringify(value)}`);
    else options[NUMBER[name]] = Number(value);
  }
  if (!(options.listen && options.app && options.file)) throw new Error('--listen, --app and --file are required');
  if (!/^(unix|tcp):/.test(options.listen)) throw new Error('--listen wants unix:/path or tcp:host:port');
  if (!['v2', 'body'].includes(options.eventFormat)) throw new Error('--event-format wants v2 or body');
  if (options.concurrency < 1) throw new Error('--concurrency must be at least 1');
  return options;
}

module.exports = { parse };

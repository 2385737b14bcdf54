// node embed.mjs JCO WIT WORLD [CORE] OUT: a component of a core module, or of none (what the world imports, in full).
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , jco, wit, world, ...rest] = process.argv;
const { $init, tools } = await import(pathToFileURL(`${jco}/vendor/wasm-tools.js`));
await $init;
const witSource = readFileSync(wit, "utf8");
const core = rest.length > 1 ? { binary: readFileSync(rest[0]) } : { dummy: true };
writeFileSync(rest.at(-1), tools.componentNew(tools.componentEmbed({ ...core, witSource, world }), []));

// Serves the README's auth.ts, compiled, as a frontend would: its handler, and a route of its own where it has one.
// Its first line on standard output is JSON, and it ends with its standard input.
import { createServer } from "node:http";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";

const { COMPILED, PORT } = process.env;
const { auth, GET } = await import(COMPILED);

const migrations = await getMigrations(auth.options);
await migrations.runMigrations();

const handle = toNodeHandler(auth);
const http = createServer(async (request, response) => {
  if (request.url !== "/api/session-token") return handle(request, response);
  const answer = await GET(new Request(`http://localhost${request.url}`, { headers: request.headers }));
  response.end(await answer.text());
});
await new Promise((listening) => http.listen(Number(PORT), "127.0.0.1", listening));
console.log(JSON.stringify({ url: `http://127.0.0.1:${PORT}`, created: [] }));

process.stdin.on("close", () => process.exit()).resume();

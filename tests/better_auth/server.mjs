// A Better Auth server for the tests, set up by its environment. Its first line on standard output is JSON and says
// where it listens and which tables it made; it ends with its standard input, so that it never outlives the tests.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";
import { SignJWT } from "jose";
import pg from "pg";

const { BETTER_AUTH_SECRET, DATABASE_URL, FRONTEND, KEY_ALGORITHM = "EdDSA", PORT = 0, ROTATION_INTERVAL } = process.env;
const asNeon = process.env.NEON === "true"; // paths, ids and role of Neon Auth
const shared = KEY_ALGORITHM === "HS256";

const http = createServer();
await new Promise((listening) => http.listen(Number(PORT), "127.0.0.1", listening));
const baseURL = `http://127.0.0.1:${http.address().port}`;

const published = {
  sessionCookieCache: true,
  jwks: {
    keyPairConfig: { alg: KEY_ALGORITHM },
    rotationInterval: Number(ROTATION_INTERVAL) || undefined,
    ...(asNeon ? { jwksPath: "/.well-known/jwks.json" } : {}),
  },
  ...(asNeon ? { jwt: { definePayload: ({ user }) => ({ ...user, role: "authenticated", banned: null }) } } : {}),
};

// The plugin signs with key pairs; HS256 is a signer of one's own, for which it wants a remote key set to be named.
const secret = new TextEncoder().encode(BETTER_AUTH_SECRET);
const byTheSecret = {
  jwks: { remoteUrl: `${baseURL}/none`, keyPairConfig: { alg: "EdDSA" } },
  jwt: { sign: (claims) => new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(secret) },
};

const options = {
  baseURL,
  secret: BETTER_AUTH_SECRET,
  database: new pg.Pool({ connectionString: DATABASE_URL, max: 2 }),
  emailAndPassword: { enabled: true },
  plugins: [jwt(shared ? byTheSecret : published), bearer()],
  session: { cookieCache: { enabled: true, strategy: "jwt" } },
  trustedOrigins: [FRONTEND],
  telemetry: { enabled: false },
  ...(asNeon ? { basePath: "/neondb/auth", advanced: { database: { generateId: "uuid" } } } : {}),
};

const migrations = await getMigrations(options);
await migrations.runMigrations();
http.on("request", toNodeHandler(betterAuth(options)));
console.log(JSON.stringify({ url: baseURL, created: migrations.toBeCreated.map(({ table }) => table) }));

process.stdin.on("close", () => process.exit()).resume();

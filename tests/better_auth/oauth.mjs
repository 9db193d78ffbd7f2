// A Better Auth server that is an OAuth provider, for the tests. Its first line on standard output is JSON: where it
// listens, which tables it made, and two clients, one of which acts for itself. It ends with its standard input.
import { createServer } from "node:http";
import { mcp } from "@better-auth/mcp";
import { oauthProvider } from "@better-auth/oauth-provider";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";
import pg from "pg";

const { BETTER_AUTH_SECRET, DATABASE_URL, FRONTEND, PORT = 0, PROVIDER, RESOURCE } = process.env;

const http = createServer();
await new Promise((listening) => http.listen(Number(PORT), "127.0.0.1", listening));
const baseURL = `http://127.0.0.1:${http.address().port}`;
const redirect = "https://agent.example/callback";

const provided = {
  loginPage: "/sign-in",
  consentPage: "/consent",
  scopes: ["openid", "profile", "email", "offline_access", "todos:read", "todos:write", "account"],
  resources: [RESOURCE, "https://other.example/api"],
  enforcePerClientResources: false,
  clientPrivileges: () => true,
  silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
};

const options = {
  baseURL,
  secret: BETTER_AUTH_SECRET,
  database: new pg.Pool({ connectionString: DATABASE_URL, max: 2 }),
  emailAndPassword: { enabled: true },
  disabledPaths: ["/token"],
  plugins: [
    jwt({ disableSettingJwtHeader: true }),
    bearer(),
    PROVIDER === "mcp" ? mcp({ ...provided, resource: RESOURCE }) : oauthProvider(provided),
  ],
  trustedOrigins: [FRONTEND],
  telemetry: { enabled: false },
};

const migrations = await getMigrations(options);
await migrations.runMigrations();
const auth = betterAuth(options);

const operator = await auth.api.signUpEmail({
  body: { name: "Operator", email: `operator-${Date.now()}@example.com`, password: "a long pass phrase" },
});
const headers = new Headers({ authorization: `Bearer ${operator.token}` });
const client = (body) => auth.api.adminCreateOAuthClient({ body, headers });
const clients = {
  agent: await client({
    redirect_uris: [redirect],
    grant_types: ["authorization_code", "refresh_token"],
    skip_consent: true,
  }),
  machine: await client({
    grant_types: ["client_credentials"],
    response_types: [],
    client_credentials_scopes: ["todos:read"],
  }),
};

// What the README puts in place of `/token`, which an OAuth provider has to disable.
const sessionToken = async (request, response) => {
  const { token } = await auth.api.getToken({ headers: new Headers({ authorization: request.headers.authorization }) });
  response.end(JSON.stringify({ token }));
};

const handle = toNodeHandler(auth);
http.on("request", (request, response) =>
  request.url === "/api/session-token" ? sessionToken(request, response) : handle(request, response),
);
const created = migrations.toBeCreated.map(({ table }) => table);
console.log(JSON.stringify({ url: baseURL, created, redirect, clients }));

process.stdin.on("close", () => process.exit()).resume();

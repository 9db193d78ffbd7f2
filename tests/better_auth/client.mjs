// The frontend's call. In a browser the session cookie goes with it; here the session is a header of its own.
import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";

const { BETTER_AUTH_URL, SESSION_TOKEN } = process.env;
const authClient = createAuthClient({ baseURL: BETTER_AUTH_URL, plugins: [jwtClient()] });
const { data, error } = await authClient.token({ fetchOptions: { auth: { type: "Bearer", token: SESSION_TOKEN } } });
if (error) throw new Error(JSON.stringify(error));
console.log(data.token);

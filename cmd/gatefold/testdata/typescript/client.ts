// A back office as its developer writes one: the types come from /openapi.json,
// and a name that the API does not know is an error of the compiler.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { env: Record<string, string | undefined>; exitCode?: number };

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function expect<T>(what: string, answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.error !== undefined || answer.data === undefined) {
    throw new Error(`${what}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const baseUrl = setting("API");
const open = createClient<paths>({ baseUrl });
const token = expect(
  "token",
  await open.POST("/oauth/token", {
    body: {
      grant_type: "client_credentials",
      client_id: setting("CLIENT_ID"),
      client_secret: setting("CLIENT_SECRET"),
    },
  }),
);

const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token.access_token}` } });

const link = expect(
  "link",
  await api.POST("/management/create-signed-link", {
    body: { url: setting("PAGE"), maxUses: 1, expiresIn: "7d", meta: { campaign: "autumn" } },
  }),
);
const shown = expect(
  "shown link",
  await api.GET("/management/signed-links/{id}", { params: { path: { id: link.tokenId } } }),
);

const domain = expect(
  "domain",
  await api.PUT("/management/domains/{domain}", {
    params: { path: { domain: "publisher.example.com" } },
    body: { signingKeyPem: setting("PUBLIC_KEY"), allowedResourceIds: ["prefix:news-*"] },
  }),
);

const list = expect("list", await api.POST("/management/access-lists", { body: { name: "Subscribers" } }));
const grant = expect(
  "grant",
  await api.POST("/management/access-lists/{id}/grants", {
    params: { path: { id: list.id } },
    body: { userId: "reader-of-typescript", sku: "premium", startsAt: "2020-01-01T00:00:00Z" },
  }),
);
const entitlements = expect(
  "entitlements",
  await api.GET("/management/entitlements", { params: { query: { userId: "reader-of-typescript" } } }),
);

// What is wrong has a type as well.
const refused = await api.POST("/management/create-signed-link", { body: { url: "not a url" } });
if (refused.error?.code !== "validation_failed" || !refused.error.errors?.[0]?.location) {
  throw new Error(`a bad link: ${refused.response.status} ${JSON.stringify(refused.error)}`);
}

console.log(
  JSON.stringify({
    signedUrl: link.signedUrl,
    status: shown.status,
    uses: shown.uses,
    grantId: grant.id,
    listId: grant.source,
    domain: domain.domain,
    domainKeys: domain.probe.activeKeys,
    hasAccess: entitlements.map((entitlement) => entitlement.hasAccess),
  }),
);

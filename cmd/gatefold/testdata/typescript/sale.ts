// A seller and a back office: an order, its confirmation, the contract's end. Between the
// steps the program waits for a line on its input, so that the page can be tried.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: {
  env: Record<string, string | undefined>;
  stdin: { once(event: "data", listener: () => void): void; resume(): void; pause(): void };
  stdout: { write(text: string): void };
};

type Contract = components["schemas"]["Contract"];

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function expect<T>(what: string, answer: { data?: T; error?: unknown; response: Response }, status: number): T {
  if (answer.error !== undefined || answer.data === undefined || answer.response.status !== status) {
    throw new Error(`${what}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const baseUrl = setting("API");

async function client(id: string, secret: string, scope: string) {
  const token = expect(
    "token",
    await createClient<paths>({ baseUrl }).POST("/oauth/token", {
      body: { grant_type: "client_credentials", client_id: id, client_secret: secret, scope },
    }),
    200,
  );
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token.access_token}` } });
}

// step prints what was done, and waits until the page was tried.
async function step(name: string, contract: Contract): Promise<void> {
  process.stdout.write(JSON.stringify({ step: name, id: contract.id, status: contract.status, isActive: contract.isActive, price: contract.price }) + "\n");
  await new Promise<void>((resume) => process.stdin.once("data", resume));
}

const seller = await client(setting("SELLER_ID"), setting("SELLER_SECRET"), "payments:contract:third-party-onboarding");
const office = await client(setting("OFFICE_ID"), setting("OFFICE_SECRET"), "contracts:*");

const promo = expect(
  "promo",
  await office.POST("/management/promos", {
    body: {
      code: "TYPESCRIPT",
      items: [{ sku: "premium", name: "Premium" }],
      contractDuration: "RECURRING",
      recurringInterval: "MONTH",
      recurringTime: 1,
      price: 9.9,
      currency: "SEK",
      paymentMethods: ["EXTERNAL"],
    },
  }),
  201,
);
const path = { vendorId: setting("VENDOR"), promoCode: promo.code };
const order = {
  externalOrderId: "order-of-typescript",
  paymentProvider: "SESAMY",
  paymentMethod: "EXTERNAL",
  quantity: 1,
  vendorData: { campaign: "autumn" },
  userData: { email: "payer@example.com", fullName: "Payer", address: { country: "SE" } },
  ownerData: { userId: setting("READER") },
} as const;
const sale = "/payments/vendor/{vendorId}/promos/code/{promoCode}" as const;

const sold = expect("sale", await seller.POST(sale, { params: { path }, body: order }), 201);
await step("sold", sold);
const again = expect("the same order", await seller.POST(sale, { params: { path }, body: order }), 200);
if (again.id !== sold.id) throw new Error("the same order is another contract");
const conflict = await seller.POST(sale, { params: { path }, body: { ...order, vendorData: { campaign: "winter" } } });
if (conflict.response.status !== 409 || conflict.error?.code !== "order_conflict") {
  throw new Error(`another order with the same id: ${conflict.response.status} ${JSON.stringify(conflict.error)}`);
}
const confirmed = expect(
  "confirmation",
  await seller.POST("/payments/vendor/{vendorId}/promos/code/{promoCode}/confirm/{contractId}", {
    params: { path: { ...path, contractId: sold.id } },
    body: { providerPaymentData: { reference: "pay-1" } },
  }),
  200,
);
await step("confirmed", confirmed);
const listed = expect("contracts", await office.GET("/management/contracts", { params: { query: { userId: setting("READER") } } }), 200);
if (listed.length !== 1 || listed[0]?.id !== sold.id) throw new Error(`the reader has ${JSON.stringify(listed)}`);
const canceled = expect(
  "cancellation",
  await office.POST("/management/contracts/{id}/cancel", { params: { path: { id: sold.id } }, body: { at: "NOW", reason: "moved" } }),
  200,
);
await step("canceled", canceled);
process.stdin.pause();

// An OpenID provider, with a login page that takes every name. Called as
//
//	node provider.mjs <port> <certificate> <key>
//
// Its client is the site that GET /site?address=<https URL> names, whatever its host, on this
// machine. GET /refreshes says which refresh tokens were sent, and with which status each was
// answered.
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { Provider } from 'oidc-provider';

const [port, certificate, key] = process.argv.slice(2);
const issuer = `https://localhost:${port}`;

const { lookup } = dns;
dns.lookup = (host, ...rest) => lookup('localhost', ...rest);

const refreshes = [];

function provide(site) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'news',
      client_secret: 'secret',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [`${site}/.gatefold/callback`],
      post_logout_redirect_uris: [`${site}/`],
      backchannel_logout_uri: `${site}/.gatefold/backchannel`,
      backchannel_logout_session_required: true,
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    // Its own refuses addresses that are not public.
    fetch: (address, { dispatcher, ...options }) => fetch(address, options),
    cookies: { keys: ['a key of the test'] },
    features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    // Without a prompt for consent, it would not give one.
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }) }),
    ttl: { Session: 3600, Grant: 3600, AccessToken: 960, IdToken: 3600, Interaction: 3600, AuthorizationCode: 60, RefreshToken: 3600 },
  });
  provider.use(async (context, next) => {
    await next();
    if (context.oidc?.route === 'token' && context.oidc.params?.grant_type === 'refresh_token') {
      refreshes.push({ token: context.oidc.params.refresh_token, status: context.status });
    }
  });
  provider.on('backchannel.error', (_, error) => console.error('backchannel.error', error.message, error.cause));
  return provider;
}

let answer;
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname === '/site') {
    answer = provide(url.searchParams.get('address')).callback();
    response.end('ok');
    return;
  }
  if (url.pathname === '/refreshes') {
    response.end(JSON.stringify(refreshes));
    return;
  }
  answer(request, response);
}).listen(port, 'localhost', () => console.log('listening'));

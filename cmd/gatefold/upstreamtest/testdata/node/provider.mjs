// An OpenID provider, with a login page that takes every name. Called as
//
//	node provider.mjs <port> <certificate> <key>
//
// Its client is the site that GET /site?address=<https URL> names.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { Provider } from 'oidc-provider';

const [port, certificate, key] = process.argv.slice(2);
const issuer = `https://localhost:${port}`;

function provide(site) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'news',
      client_secret: 'secret',
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
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: id.includes('@') ? id : `${id}@example.com`, email_verified: true }) }),
    ttl: { Session: 3600, Grant: 3600, AccessToken: 3600, IdToken: 3600, Interaction: 3600, AuthorizationCode: 60, RefreshToken: 3600 },
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
  answer(request, response);
}).listen(port, 'localhost', () => console.log('listening'));

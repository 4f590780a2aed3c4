// Runs the tests of http-cache-tests against a cache, and prints their results as JSON:
//
//	node run.mjs <folder of the package> <port of the origin> <URL of the cache> [<id of a test>…]
//
// The origin of the tests runs in this process. It finds out by the header Req-Num which
// request of a test it answers. What fills the page cache is fetched without it, as without
// every header that selects no page, so the number is handed over here. A page that turns out
// not to be storable is asked for again, by the reader's own request: the fetch before it does
// not count.
import http from 'node:http'
import { pathToFileURL } from 'node:url'

const [folder, port, base, ...only] = process.argv.slice(2)
console.log = console.error // of the tests' own server: the output has the results
const load = path => import(pathToFileURL(`${folder}/${path}`))

const handlers = {
  config: (await load('server/handle-config.mjs')).default,
  state: (await load('server/handle-state.mjs')).default,
  test: (await load('server/handle-test.mjs')).default
}
const { stash } = await load('server/utils.mjs')
const asked = new Map() // the number of the request that is under way, by the test's uuid

http.createServer((request, response) => {
  const [kind, ...segments] = new URL(request.url, 'http://origin').pathname.slice(1).split('/')
  const [uuid] = segments
  const before = stash.get(uuid)?.at(-1)
  if (before?.request_headers['user-agent'] === 'gatefold' && String(before.request_num) === request.headers['req-num']) stash.get(uuid).pop()
  if (asked.has(uuid)) request.headers['req-num'] ??= asked.get(uuid)
  handlers[kind](segments, request, response)
}).listen(Number(port), '127.0.0.1', async () => {
  const { runTests, getResults } = await load('client/runner.mjs')
  const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
  const kinds = {}
  for (const suite of suites) {
    suite.tests = suite.tests.filter(test => !only.length || only.includes(test.id))
    for (const test of suite.tests) {
      if (!test.browser_only) kinds[test.id] = test.kind ?? 'required'
      if (only.length) test.dump = true
    }
  }
  await runTests(suites, (url, init) => {
    const number = init?.headers?.find?.(([name]) => name === 'Req-Num')
    if (number) asked.set(new URL(url).pathname.split('/')[2], number[1])
    return fetch(url, init)
  }, false, base)
  const results = getResults()
  const rows = Object.entries(kinds).map(([id, kind]) => ({ id, kind, passed: results[id] === true, message: results[id]?.[1] ?? '' }))
  process.stdout.write(JSON.stringify(rows), () => process.exit(0))
})

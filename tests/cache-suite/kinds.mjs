// kinds.mjs SUITE: prints what the results do not carry: [{ id, suite, kind, depends_on, browser_only }].
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const load = async file => (await import(pathToFileURL(path.resolve(process.argv[2], 'tests', file)))).default
// The suite's command line adds the tests of Surrogate-Control by hand, too.
const suites = [...await load('index.mjs'), await load('surrogate-control.mjs')]
console.log(JSON.stringify(suites.flatMap(suite => suite.tests.map(test => ({
  id: test.id,
  suite: suite.id,
  kind: test.kind ?? 'required',
  depends_on: test.depends_on ?? [],
  browser_only: test.browser_only ?? false
})))))

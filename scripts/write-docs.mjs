// Writes the parts of the documents that are derived from the code. `--check` only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { memoryCapabilities } from '../src/adapters/memory/index.ts'
import { natsCapabilities } from '../src/adapters/nats/index.ts'
import { postgresCapabilities } from '../src/adapters/postgres/index.ts'
import { rabbitmqCapabilities } from '../src/adapters/rabbitmq/index.ts'
import { sqliteCapabilities } from '../src/adapters/sqlite/index.ts'
import { errorRegistry } from '../src/core/error-registry.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const START = '<!-- capabilities: written by scripts/write-docs.mjs from the code -->'
const END = '<!-- end of capabilities -->'
const adapters = { memory: memoryCapabilities, sqlite: sqliteCapabilities, nats: natsCapabilities, rabbitmq: rabbitmqCapabilities, postgres: postgresCapabilities }
const meanings = {
  canStore: 'durable queues and groups',
  canOrderByKey: 'order per key across instances',
  canBroadcast: 'events to every instance',
  canRequest: 'request/reply',
  canManageDeadLetters: 'dead letters: list, redrive, skip',
  canReplay: 'a new group can start from the beginning',
  canDelayRetry: 'delayed retries that let others pass',
  survivesProcessDeath: 'survives the death of every service',
  survivesBrokerRestart: 'survives a restart and a crash of the broker',
  spansMachines: 'between machines',
  scansDeadLetters: 'reading one dead letter scans those before it',
}

const names = Object.keys(adapters)
const rows = Object.entries(meanings).map(([flag, meaning]) => `| ${meaning} | ${names.map((name) => (adapters[name][flag] ? 'yes' : 'no')).join(' | ')} |`)
const table = [`| | ${names.join(' | ')} |`, `| --- |${names.map(() => ' --- |').join('')}`, ...rows].join('\n')
const missing = Object.keys(memoryCapabilities).filter((flag) => !(flag in meanings))
if (missing.length > 0) throw new Error(`scripts/write-docs.mjs has no words for ${missing.join(', ')}`)

/** Puts the table of capabilities between its marks. */
function withCapabilities(text) {
  return text.slice(0, text.indexOf(START) + START.length) + `\n${table}\n` + text.slice(text.indexOf(END))
}

/** Fills in the last two columns of each row: what the bus does next, and what to do. */
function withRemedies(text) {
  return text.replaceAll(/^\| `([a-z]+\.[a-z_]+)` \| (.*?) \| .*$/gm, (row, code, when) => {
    const entry = errorRegistry[code]
    return entry === undefined ? row : `| \`${code}\` | ${when} | \`${entry.disposition}\` | ${entry.remedy} |`
  })
}

const stale = [['README.md', withCapabilities], ['docs/errors.md', withRemedies]].filter(([name, rewritten]) => {
  const before = readFileSync(join(root, name), 'utf8')
  const after = rewritten(before)
  if (after !== before && !process.argv.includes('--check')) writeFileSync(join(root, name), after)
  return after !== before
})
if (process.argv.includes('--check') && stale.length > 0) {
  console.error(`${stale.map(([name]) => name).join(' and ')} is stale: run node scripts/write-docs.mjs`)
  process.exit(1)
}

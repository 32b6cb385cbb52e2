// Writes the parts of the documents that are derived from the code. `--check` only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { memoryCapabilities } from '../src/adapters/memory/index.ts'
import { natsCapabilities } from '../src/adapters/nats/index.ts'
import { rabbitmqCapabilities } from '../src/adapters/rabbitmq/index.ts'
import { sqliteCapabilities } from '../src/adapters/sqlite/index.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const START = '<!-- capabilities: written by scripts/write-docs.mjs from the code -->'
const END = '<!-- end of capabilities -->'
const adapters = { memory: memoryCapabilities, sqlite: sqliteCapabilities, nats: natsCapabilities, rabbitmq: rabbitmqCapabilities }
const meanings = {
  canStore: 'durable queues and groups',
  canOrderByKey: 'order per key across instances',
  canBroadcast: 'events to every instance',
  canRequest: 'request/reply',
  canManageDeadLetters: 'dead letters: list, redrive, skip',
  canReplay: 'a new group can start from the beginning',
  canDelayRetry: 'delayed retries without a waiting process',
  survivesProcessDeath: 'survives the death of every service',
  survivesBrokerRestart: 'survives a broker restart',
  keepsDelayThroughCrash: 'delayed retries survive a crash of the broker',
  spansMachines: 'between machines',
  scansDeadLetters: 'reading one dead letter scans those before it',
}

const names = Object.keys(adapters)
const rows = Object.entries(meanings).map(([flag, meaning]) => `| ${meaning} | ${names.map((name) => (adapters[name][flag] ? 'yes' : 'no')).join(' | ')} |`)
const table = [`| | ${names.join(' | ')} |`, `| --- |${names.map(() => ' --- |').join('')}`, ...rows].join('\n')
const missing = Object.keys(memoryCapabilities).filter((flag) => !(flag in meanings))
if (missing.length > 0) throw new Error(`scripts/write-docs.mjs has no words for ${missing.join(', ')}`)

const file = join(root, 'README.md')
const before = readFileSync(file, 'utf8')
const after = before.slice(0, before.indexOf(START) + START.length) + `\n${table}\n` + before.slice(before.indexOf(END))
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('README.md is stale: run node scripts/write-docs.mjs')
    process.exit(1)
  }
} else writeFileSync(file, after)

// A process that uses a database file, for tests that need more than one process or kill one.
// Usage: sqlite-child.ts FILE ROLE [ARGUMENTS]; it writes one JSON value a line.
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { sqlite, sqliteBackend } from '../../../src/adapters/sqlite/index.ts'
import type { Transport } from '../../../src/bus/port.ts'
import { TestHost, event, group, publish } from './sqlite-rig.ts'
import { wireMessage } from '../wire-messages.ts'

const [, , file = '', role = '', ...words] = process.argv

function say(what: string, parts: object = {}): void {
  process.stdout.write(`${JSON.stringify({ what, ...parts })}\n`)
}

async function open(options: object = {}): Promise<Transport> {
  const { transport } = sqlite({ file, ...options })
  await transport.open(new TestHost())
  return transport
}

/** Takes deliveries of a group and never settles them; with `begin`, it begins suspects first. */
async function hold(): Promise<void> {
  const transport = await open()
  const order = words.includes('key') ? 'key' : 'none'
  await transport.subscribe(group({ order }), (delivery) => {
    const { attempt, isSuspect, message } = delivery
    const tell = (): void => say('holds', { id: message.id, attempt, isSuspect })
    if (words.includes('begin')) void delivery.begin().then(tell)
    else tell()
  })
  say('ready')
}

/** Takes deliveries of a group, says them and acks them. */
async function work(): Promise<void> {
  const transport = await open({ watch: !words.includes('poll') })
  const order = words.includes('key') ? 'key' : 'none'
  await transport.subscribe(group({ order }), (delivery) => {
    const { attempt, isSuspect, message } = delivery
    say('begins', { id: message.id, attempt, isSuspect, key: message.key, atMs: Date.now() })
    setImmediate(() => {
      say('ends', { id: message.id, key: message.key })
      void delivery.ack()
    })
  })
  say('ready')
}

/** Publishes as fast as it can until it is killed, and says what was stored. */
async function flood(): Promise<void> {
  const transport = await open()
  say('ready')
  for (let number = 0; ; number++) {
    const batch = Array.from({ length: 20 }, (_, index) => event({ id: `${process.pid}-${number}-${index}` }))
    await publish(transport, ...batch)
    for (const each of batch) say('stored', { id: each.message.id })
  }
}

/** Publishes a given number of messages, a key each, and ends. */
async function send(): Promise<void> {
  const transport = await open({ watch: !words.includes('poll') })
  const many = Number(words[0])
  const keys = Number(words[1])
  for (let number = 0; number < many; number++) {
    await publish(transport, event({ id: `${words[2]}-${String(number).padStart(5, '0')}`, key: `key-${number % keys}` }))
  }
  await transport.close()
  say('sent')
}

/** Holds the write lock, from the first line on its input for as many milliseconds as it is told. */
function lock(): void {
  const database = new DatabaseSync(file)
  database.exec('PRAGMA busy_timeout = 5000')
  createInterface({ input: process.stdin }).once('line', (line) => {
    database.exec('BEGIN IMMEDIATE')
    say('locked')
    setTimeout(() => {
      database.exec('ROLLBACK')
      say('unlocked')
      database.close()
      process.exit(0)
    }, Number(line))
  })
  say('ready')
}

/** Answers questions with its own process id; with `silent`, takes them only. */
async function answer(): Promise<void> {
  const transport = await open()
  await transport.light?.onRequest('tests.price-quoted', ({ message, replyTo }) => {
    say('asked', { id: message.id })
    if (replyTo !== undefined && !words.includes('silent')) void transport.light?.reply(replyTo, wireMessage({ id: `answer-to-${message.id}`, body: Buffer.from(`${process.pid}`) }))
  })
  await transport.light?.onBroadcast(['tests.thing-happened'], ({ message }) => say('heard', { id: message.id, atMs: Date.now() }))
  say('ready')
}

/** Opens and closes the file; for races at the start. */
async function start(): Promise<void> {
  say('ready')
  await new Promise<void>((resolve) => {
    createInterface({ input: process.stdin }).once('line', () => resolve())
  })
  const transport = await open()
  await transport.subscribe(group(), () => {})
  await transport.close()
  say('started')
  process.exit(0)
}

/** Takes a lease for an hour. */
async function lease(): Promise<void> {
  const backend = sqliteBackend({ file })
  const { clock, random, logger, service, instance, report } = new TestHost()
  await backend.open({ clock, random, logger, service, instance, report, isOwnTransport: false })
  await backend.leases.hold(['work'], 'the child', 3_600_000, 1)
  say('holds')
}

const roles: Readonly<Record<string, () => void | Promise<void>>> = { hold, work, flood, send, lock, answer, start, lease }
await roles[role]?.()

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Pool } from 'pg'
import { memoryStore } from '../src/adapters/memory/index.ts'
import { postgres } from '../src/adapters/postgres/index.ts'
import { sqlite } from '../src/adapters/sqlite/index.ts'
import { type Ratio, type Result, measure } from './measure.ts'
import { CONNECTIONS, benchDatabase, plainPool, transaction } from './outbox-database.ts'
import { HandCrew, type HandDatabase, type HandMessage, digestOf, handStep, streamOf } from './saga-by-hand.ts'
import { SagaCrew } from './saga-work.ts'

type Suite = { results: Map<string, Result>; ratios: Ratio[] }

const PG_COUNT = 1_000
const SQLITE_COUNT = 2_000
const MEMORY_COUNT = 3_000

/** Steps a second in memory: what the engine itself costs. */
export async function memorySagaSuite(rounds: number, progress: (text: string) => void): Promise<Suite> {
  const crew = await SagaCrew.start(memoryStore(), CONNECTIONS)
  const results = await measure([{ name: 'trunkline: saga steps, memory', run: () => crew.run(MEMORY_COUNT) }], rounds, progress)
  await crew.close()
  return { results, ratios: [] }
}

/** Steps a second over one file, beside a transaction of the same statements for each message. */
export async function sqliteSagaSuite(rounds: number, progress: (text: string) => void): Promise<Suite> {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  const crew = await SagaCrew.start(sqlite({ file: join(dir, 'sagas.db') }), CONNECTIONS)
  const database = new DatabaseSync(join(dir, 'hand.db'))
  const hand = new HandCrew(handSqlite(database), CONNECTIONS)
  const results = await measure(
    [
      { name: 'trunkline: saga steps, SQLite', run: () => crew.run(SQLITE_COUNT) },
      { name: 'by hand: saga steps, SQLite', run: () => hand.run(SQLITE_COUNT) },
    ],
    rounds, progress,
  )
  await crew.close()
  database.close()
  rmSync(dir, { recursive: true, force: true })
  return { results, ratios: [ratioOf(results, 'SQLite')] }
}

/** Steps a second with 16 workers and 16 connections, beside the same statements by hand. */
export async function postgresSagaSuite(rounds: number, progress: (text: string) => void): Promise<Suite> {
  const server = await benchDatabase()
  const pool = plainPool(server.url)
  await pool.query(HAND_TABLES)
  const crew = await SagaCrew.start(postgres({ connectionString: server.url, poolMax: CONNECTIONS }), CONNECTIONS)
  const hand = new HandCrew(handPostgres(pool), CONNECTIONS)
  const results = await measure(
    [
      { name: 'trunkline: saga steps, PostgreSQL', run: () => crew.run(PG_COUNT) },
      { name: 'by hand: saga steps, PostgreSQL', run: () => hand.run(PG_COUNT) },
    ],
    rounds, progress,
  )
  await crew.close()
  await pool.end()
  await server.close()
  return { results, ratios: [ratioOf(results, 'PostgreSQL')] }
}

function ratioOf(results: ReadonlyMap<string, Result>, database: string): Ratio {
  const rate = (name: string): number => results.get(`${name}: saga steps, ${database}`)?.perSecond ?? NaN
  return { name: `saga steps, ${database} ÷ the same statements by hand`, value: rate('trunkline') / rate('by hand'), bound: 0.7, kind: 'at least' }
}

export const HAND_TABLES = `CREATE TABLE hand_inbox (id text PRIMARY KEY, digest bytea NOT NULL);
CREATE TABLE hand_event (stream text NOT NULL, revision integer NOT NULL, type text NOT NULL, data text NOT NULL, PRIMARY KEY (stream, revision));
CREATE TABLE hand_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message text NOT NULL);
CREATE TABLE hand_timer (id text PRIMARY KEY, due_at timestamptz NOT NULL, body text NOT NULL);
CREATE INDEX hand_timer_due ON hand_timer (due_at)`

const PG = {
  enter: { name: 'hand-enter', text: 'INSERT INTO hand_inbox (id, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING' },
  read: { name: 'hand-read', text: 'SELECT data FROM hand_event WHERE stream = $1 ORDER BY revision' },
  append: { name: 'hand-append', text: 'INSERT INTO hand_event (stream, revision, type, data) SELECT $1, $2 + n, type, data FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS e (type, data, n)' },
  cancel: { name: 'hand-cancel', text: 'DELETE FROM hand_timer WHERE id = $1' },
  timer: { name: 'hand-timer', text: "INSERT INTO hand_timer (id, due_at, body) VALUES ($1, now() + interval '600 seconds', $2)" },
  send: { name: 'hand-send', text: 'INSERT INTO hand_outbox (message) VALUES ($1)' },
  page: { name: 'hand-page', text: 'SELECT id, message FROM hand_outbox ORDER BY id LIMIT 500' },
  remove: { name: 'hand-remove', text: 'DELETE FROM hand_outbox WHERE id = ANY($1::bigint[])' },
}

export function handPostgres(pool: Pool): HandDatabase {
  return {
    handle: (message) => transaction(pool, async (client) => {
      const stream = streamOf(message)
      const entered = await client.query({ ...PG.enter, values: [message.id, digestOf(message)] })
      if (entered.rowCount === 0) return
      const { rows } = await client.query<{ data: string }>({ ...PG.read, values: [stream] })
      const { events, cancels, timer, command } = handStep(message, rows.map(({ data }) => data))
      await client.query({ ...PG.append, values: [stream, rows.length - 1, events.map(({ type }) => type), events.map(({ data }) => data)] })
      if (cancels !== undefined) await client.query({ ...PG.cancel, values: [cancels] })
      if (timer !== undefined) await client.query({ ...PG.timer, values: [timer.id, timer.body] })
      if (command !== undefined) await client.query({ ...PG.send, values: [JSON.stringify(command)] })
    }),
    relay: async (sink) => {
      const { rows } = await pool.query<{ id: string; message: string }>(PG.page)
      if (rows.length === 0) return 0
      for (const { message } of rows) sink(parsed(message))
      await pool.query({ ...PG.remove, values: [rows.map(({ id }) => id)] })
      return rows.length
    },
  }
}

/** The library's file is opened with the same two settings. */
function handSqlite(database: DatabaseSync): HandDatabase {
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  database.exec(`CREATE TABLE hand_inbox (id TEXT PRIMARY KEY, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE hand_event (stream TEXT NOT NULL, revision INTEGER NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (stream, revision)) STRICT;
CREATE TABLE hand_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL) STRICT;
CREATE TABLE hand_timer (id TEXT PRIMARY KEY, due_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX hand_timer_due ON hand_timer (due_at)`)
  const enter = database.prepare('INSERT INTO hand_inbox (id, digest) VALUES (?, ?) ON CONFLICT DO NOTHING')
  const read = database.prepare('SELECT data FROM hand_event WHERE stream = ? ORDER BY revision')
  const append = database.prepare('INSERT INTO hand_event (stream, revision, type, data) VALUES (?, ?, ?, ?)')
  const cancel = database.prepare('DELETE FROM hand_timer WHERE id = ?')
  const set = database.prepare('INSERT INTO hand_timer (id, due_at, body) VALUES (?, ?, ?)')
  const send = database.prepare('INSERT INTO hand_outbox (message) VALUES (?)')
  const page = database.prepare('SELECT id, message FROM hand_outbox ORDER BY id LIMIT 500')
  const remove = database.prepare('DELETE FROM hand_outbox WHERE id = ?')
  return {
    handle: (message) => {
      database.exec('BEGIN IMMEDIATE')
      const stream = streamOf(message)
      if (enter.run(message.id, digestOf(message)).changes === 1) {
        const history = read.all(stream).map(({ data }) => String(data))
        const { events, cancels, timer, command } = handStep(message, history)
        for (const [index, { type, data }] of events.entries()) append.run(stream, history.length + index, type, data)
        if (cancels !== undefined) cancel.run(cancels)
        if (timer !== undefined) set.run(timer.id, Date.now() + 600_000, timer.body)
        if (command !== undefined) send.run(JSON.stringify(command))
      }
      database.exec('COMMIT')
    },
    relay: (sink) => {
      const rows = page.all()
      if (rows.length === 0) return 0
      database.exec('BEGIN IMMEDIATE')
      for (const { id, message } of rows) {
        sink(parsed(String(message)))
        remove.run(Number(id))
      }
      database.exec('COMMIT')
      return rows.length
    },
  }
}

function parsed(message: string): HandMessage {
  return JSON.parse(message)
}

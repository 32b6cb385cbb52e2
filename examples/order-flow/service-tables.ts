import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import type { SqliteHandle } from 'trunkline/sqlite'

const TRIES = 100

// What the supervisor looks at from outside.
const FACTS = 'CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;'

/** Makes a service's own tables, as a migration does before a release: the file has to have them before the first message comes. */
export async function makeTables(path: string, tables: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const database = new DatabaseSync(path)
    try {
      // A short wait only, because it blocks the whole process.
      database.exec('PRAGMA busy_timeout = 20; PRAGMA journal_mode = WAL')
      database.exec(`BEGIN IMMEDIATE; ${FACTS} ${tables}; COMMIT`)
      return
    } catch (error) {
      // Instances that start together meet here.
      if (attempt === TRIES) throw error
      await delay(50)
    } finally {
      database.close()
    }
  }
}

/** A number that the service keeps for itself and for those who look. */
export function factOf(tx: SqliteHandle, name: string): number | undefined {
  const row = tx.prepare('SELECT value FROM facts WHERE name = ?').get(name)
  return row === undefined ? undefined : Number(row['value'])
}

/** Writes it, with the rest of the transaction. */
export function setFact(tx: SqliteHandle, name: string, value: number): void {
  tx.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value').run(name, value)
}

/** Adds to it. */
export function addToFact(tx: SqliteHandle, name: string, value: number): void {
  tx.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value').run(name, value)
}

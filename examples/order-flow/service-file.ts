import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'

const OPEN_TRIES = 100

// The inbox makes a repeated message harmless; facts are what the supervisor looks at from outside.
const TABLES = `
  CREATE TABLE IF NOT EXISTS inbox (message_id TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`

/**
 * The database that belongs to one service, shared by its instances and by nobody else.
 *
 * Delivery is at least once: a message can come again after a crash, to any instance. `once` books it and its
 * effect in one transaction, so that the effect happens once.
 */
export class ServiceFile implements Disposable {
  readonly database: DatabaseSync

  private constructor(database: DatabaseSync) {
    this.database = database
  }

  /** Opens the file, with the service's own tables beside the inbox. */
  static async open(path: string, tables: string): Promise<ServiceFile> {
    for (let attempt = 1; ; attempt++) {
      const database = new DatabaseSync(path)
      try {
        // A short wait only: it blocks the whole process. A handler that fails with "busy" is tried again by the bus.
        database.exec('PRAGMA busy_timeout = 250; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
        database.exec(`BEGIN IMMEDIATE; ${TABLES} ${tables}; COMMIT`)
        return new ServiceFile(database)
      } catch (error) {
        database.close()
        // Instances that start together meet here.
        if (attempt === OPEN_TRIES) throw error
        await delay(50)
      }
    }
  }

  /** Runs `effect` if the message was not handled before, both in one transaction. False for a message that was. */
  once(message: { readonly id: string; readonly type: string }, effect: (database: DatabaseSync) => void): boolean {
    return this.transaction(() => {
      const { changes } = this.database.prepare('INSERT OR IGNORE INTO inbox (message_id, type) VALUES (?, ?)').run(message.id, message.type)
      if (changes === 0) return false
      effect(this.database)
      return true
    })
  }

  /** Runs `work` in one transaction; nothing of it stays when it throws. */
  transaction<T>(work: () => T): T {
    this.database.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      this.database.exec('COMMIT')
      return result
    } catch (error) {
      this.#rollBack()
      throw error
    }
  }

  #rollBack(): void {
    try {
      this.database.exec('ROLLBACK')
    } catch {
      // SQLite has done it already: after a full disk, for one.
    }
  }

  fact(name: string): number | undefined {
    const row = this.database.prepare('SELECT value FROM facts WHERE name = ?').get(name)
    return row === undefined ? undefined : Number(row['value'])
  }

  setFact(name: string, value: number): void {
    this.database.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value').run(name, value)
  }

  addToFact(name: string, value: number): void {
    this.database.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value').run(name, value)
  }

  [Symbol.dispose](): void {
    this.database.close()
  }
}

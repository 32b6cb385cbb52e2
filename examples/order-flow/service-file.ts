import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'

const OPEN_TRIES = 100
/** Longest wait for the other instances' transactions. */
const WAIT_MS_MAX = 5_000

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
        // A short wait only, because it blocks the whole process.
        database.exec('PRAGMA busy_timeout = 20; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
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
  once(message: { readonly id: string; readonly type: string }, effect: (database: DatabaseSync) => void): Promise<boolean> {
    return this.transaction(() => {
      const { changes } = this.database.prepare('INSERT OR IGNORE INTO inbox (message_id, type) VALUES (?, ?)').run(message.id, message.type)
      if (changes === 0) return false
      effect(this.database)
      return true
    })
  }

  /**
   * Runs `work` in one transaction; nothing of it stays when it throws. Waits for the transactions of other
   * instances without blocking this process.
   */
  async transaction<T>(work: () => T): Promise<T> {
    const endMs = performance.now() + WAIT_MS_MAX
    while (!this.#begin(performance.now() > endMs)) await delay(1 + Math.random() * 8)
    // No await from here to the end: other handlers of this process use the same connection.
    try {
      const result = work()
      this.database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK')
      throw error
    }
  }

  /** False while another process writes. */
  #begin(isLastTry: boolean): boolean {
    try {
      this.database.exec('BEGIN IMMEDIATE')
      return true
    } catch (error) {
      if (!isLastTry && error instanceof Error && error.message.includes('database is locked')) return false
      throw error
    }
  }

  fact(name: string): number | undefined {
    const row = this.database.prepare('SELECT value FROM facts WHERE name = ?').get(name)
    return row === undefined ? undefined : Number(row['value'])
  }

  setFact(name: string, value: number): Promise<void> {
    return this.transaction(() => this.writeFact(name, value))
  }

  /** As `setFact`, inside a transaction. */
  writeFact(name: string, value: number): void {
    this.database.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value').run(name, value)
  }

  addToFact(name: string, value: number): Promise<void> {
    return this.transaction(() => {
      this.database.prepare('INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value').run(name, value)
    })
  }

  [Symbol.dispose](): void {
    this.database.close()
  }
}

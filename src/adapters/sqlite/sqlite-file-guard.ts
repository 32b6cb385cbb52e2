import { statSync } from 'node:fs'
import { TrunklineError } from '../../core/errors.ts'
import type { SqliteConnection } from './sqlite-connection.ts'

/** The files of an open database, as they were when it was opened. */
interface WatchedFile {
  readonly path: string
  readonly what: string
  readonly identity: string
}

/**
 * Knows whether the files that are open are still those that the path names. SQLite does not notice when
 * they are deleted or replaced: it goes on with files that nobody else can see, and what it accepts is gone
 * with the process.
 */
export class SqliteFileGuard {
  readonly #files: readonly WatchedFile[]
  readonly #logPath: string

  /** Notes the files of an open database in WAL mode. */
  constructor(connection: SqliteConnection) {
    const path = connection.file
    this.#logPath = `${path}-wal`
    this.#files = [watched(path, 'database'), watched(this.#logPath, 'write-ahead log')].filter((each) => each.identity !== '')
  }

  /**
   * Looks at the files; a few microseconds.
   *
   * @throws `bus.connection_lost` where one was deleted, moved or replaced. It is over when the old one is back.
   */
  check(): void {
    for (const { path, what, identity } of this.#files) {
      const now = identityOf(path)
      if (now === undefined || now === identity) continue
      const problem = now === '' ? `the ${what} was deleted or moved while it was in use` : `another ${what} took the place of the one in use`
      throw new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem: `${problem}: ${path}` })
    }
  }

  /** Size of the write-ahead log. */
  logBytes(): number {
    try {
      return statSync(this.#logPath, { throwIfNoEntry: false })?.size ?? 0
    } catch {
      return 0
    }
  }
}

function watched(path: string, what: string): WatchedFile {
  return { path, what, identity: identityOf(path) ?? '' }
}

/** What tells a file from another under the same name; empty where there is none, undefined where the system does not tell. */
function identityOf(path: string): string | undefined {
  try {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
    return stat === undefined ? '' : `${stat.dev} ${stat.ino}`
  } catch {
    return undefined
  }
}

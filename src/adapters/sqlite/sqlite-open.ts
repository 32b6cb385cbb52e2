import { resolve } from 'node:path'
import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../../core/errors.ts'
import { SqliteConnection, configure } from './sqlite-connection.ts'
import { lost } from './sqlite-call-job.ts'
import { builtinDriver, failureOf, isNoDatabase } from './sqlite-driver.ts'
import { checkVersion, prepareFile } from './sqlite-file.ts'
import type { SqliteHost } from './sqlite-host.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import { migrate, transportSteps } from './sqlite-schema.ts'
import { storeSteps } from './sqlite-store-schema.ts'

/** The connections to one opened file. */
export interface SqliteConnections {
  /** For what must survive a power cut: publishes, and everything of the store. */
  readonly durable: SqliteConnection
  /**
   * For claims, outcomes and the light plane. Its commits are not flushed one by one, which is safe: the WAL
   * is one file that is only ever valid up to some commit, and a publish flushes all before it. A power cut
   * can therefore only lose the last outcomes, never a published message; those deliveries come again.
   */
  readonly consuming: SqliteConnection
  /** Where the wake file is, or undefined where nobody else can use the database. */
  readonly wakeFile: string | undefined
  close(): void
}

const OPEN_BACKOFF = { initialMs: 10, factor: 1.6, maxMs: 200 } as const

/** Calls `work` until it succeeds; while the file is locked or cannot be used, until `waitMs` are over. */
export async function patiently<T>(host: Pick<SqliteHost, 'clock' | 'random'>, waitMs: number, work: () => T): Promise<T> {
  const giveUpAtMs = host.clock.monotonicMs() + waitMs
  for (let tries = 1; ; tries++) {
    try {
      return work()
    } catch (thrown) {
      if (isTrunklineError(thrown)) throw thrown
      const failure = failureOf(thrown)
      if (failure === 'refused' || host.clock.monotonicMs() >= giveUpAtMs) throw lost(failure, thrown)
      await sleep(host.clock, backoffMs(OPEN_BACKOFF, tries, host.random))
    }
  }
}

/** What the file system says of a path that will not do, however long one waits. */
const HOPELESS: ReadonlySet<unknown> = new Set(['EACCES', 'EEXIST', 'EISDIR', 'ELOOP', 'ENAMETOOLONG', 'ENOENT', 'ENOTDIR', 'EPERM', 'EROFS'])

/**
 * Opens the database and brings its tables up to date.
 *
 * @throws `bus.connection_lost`, naming the file, when that does not succeed in time, and at once where the path cannot be
 *   used or is not that of a database; `bus.unsupported` for a version of SQLite or a file system that cannot be used,
 *   `core.option_invalid` where a setting does not take.
 */
export async function openConnections(settings: SqliteSettings, host: SqliteHost): Promise<SqliteConnections> {
  try {
    return await patiently(host, settings.openTimeoutMs, () => openOrGiveUp(settings))
  } catch (error) {
    const { source } = settings
    if (!isTrunklineError(error, 'bus.connection_lost') || 'database' in source) throw error
    throw new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem: `${resolve(source.file)}: ${error.details.problem}` }, { cause: error.cause })
  }
}

function openOrGiveUp(settings: SqliteSettings): SqliteConnections {
  try {
    return openOnce(settings)
  } catch (thrown) {
    const isHopeless = isNoDatabase(thrown) || (thrown instanceof Error && 'syscall' in thrown && 'code' in thrown && HOPELESS.has(thrown.code))
    throw isHopeless ? lost('down', thrown) : thrown
  }
}

function openOnce(settings: SqliteSettings): SqliteConnections {
  const { source, synchronous } = settings
  if ('database' in source) {
    const connection = new SqliteConnection(source.database)
    checkVersion(connection)
    configure(connection, synchronous, false)
    migrateAll(connection)
    // The caller opened it, the caller closes it.
    return { durable: connection, consuming: connection, wakeFile: wakeFileOf(connection), close: () => {} }
  }
  const driver = source.driver ?? builtinDriver()
  const file = resolve(source.file)
  prepareFile(file, source.isNetworkAllowed)
  const opened: SqliteConnection[] = []
  const close = (): void => {
    for (const connection of opened) connection.close()
  }
  const open = (level: SqliteSettings['synchronous']): SqliteConnection => {
    const connection = new SqliteConnection(new driver(file))
    opened.push(connection)
    if (!source.isExclusive) checkVersion(connection)
    configure(connection, level, source.isExclusive)
    return connection
  }
  try {
    const durable = open(synchronous)
    migrateAll(durable)
    const consuming = source.isExclusive ? durable : open('normal')
    return { durable, consuming, wakeFile: source.isExclusive ? undefined : `${file}-wake`, close }
  } catch (thrown) {
    close()
    throw thrown
  }
}

function migrateAll(connection: SqliteConnection): void {
  migrate(connection, 'transport', transportSteps)
  migrate(connection, 'store', storeSteps)
}

function wakeFileOf(connection: SqliteConnection): string | undefined {
  const { file } = connection
  return file === '' ? undefined : `${file}-wake`
}

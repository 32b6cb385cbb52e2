import type { TransportHost } from '../../bus/port.ts'
import type { SqliteHost } from './sqlite-host.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import { SqliteSession } from './sqlite-session.ts'
import type { SqlitePlanes } from './sqlite-session.ts'

/** Who uses the file: told of its health while it does. */
export type SqliteUser = Pick<TransportHost, 'report'>

/** One file that a transport and a store use together: opened by the first of them and closed by the last. */
export class SqliteShared {
  readonly settings: SqliteSettings
  readonly #planes: SqlitePlanes
  readonly #users = new Set<SqliteUser>()
  #session: SqliteSession | undefined
  /** Openings and closings one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(settings: SqliteSettings, planes: SqlitePlanes) {
    this.settings = settings
    this.#planes = planes
  }

  /** The file while somebody uses it. */
  get session(): SqliteSession | undefined {
    return this.#session
  }

  get userCount(): number {
    return this.#users.size
  }

  /** Opens the file, with the clock and the logger of who opens it first. @throws as `SqliteSession.open` does. */
  enter(user: SqliteUser, host: SqliteHost): Promise<SqliteSession> {
    return this.#inTurn(async () => {
      const session = this.#session ?? new SqliteSession(this.settings, host, this.#planes)
      session.health.add(user.report)
      try {
        if (this.#session === undefined) await session.open()
      } catch (thrown) {
        session.health.remove(user.report)
        throw thrown
      }
      this.#session = session
      this.#users.add(user)
      return session
    })
  }

  /** Closes the file where nobody else uses it. Doing it again does nothing. */
  leave(user: SqliteUser): Promise<void> {
    return this.#inTurn(async () => {
      const session = this.#session
      if (session === undefined || !this.#users.delete(user)) return
      if (this.#users.size === 0) {
        await session.close()
        this.#session = undefined
      }
      session.health.remove(user.report)
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }
}

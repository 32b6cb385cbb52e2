import { TrunklineError } from './errors.ts'
import type { LogMethod, Logger } from './logger.ts'

/** Lines kept while pino is being loaded; later ones are dropped. */
const WAITING_MAX = 100

type Level = 'warn' | 'error'

const nothing: LogMethod = () => {}

/** What the loggers of one bus share: pino, once it is loaded. */
export class Outlet {
  #pino: Logger | undefined
  readonly #waiting: ((pino: Logger) => void)[] = []

  /** @throws `core.peer_missing`. */
  async load(): Promise<void> {
    const { pino, destination } = await import('pino').catch((cause: unknown): never => {
      throw new TrunklineError('core.peer_missing', { package: 'pino', install: 'npm install pino, or give createBus a logger' }, { cause })
    })
    // Synchronously, so that the last lines before a crash are there.
    this.#pino ??= pino({ level: 'warn' }, destination({ dest: 2, sync: true }))
    for (const line of this.#waiting.splice(0)) line(this.#pino)
  }

  /** Hands one line to pino, now or when it is there. */
  write(level: Level, fields: object, text: string | undefined): void {
    if (this.#pino !== undefined) this.#pino[level](fields, text)
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push((pino) => pino[level](fields, text))
  }
}

/**
 * What a bus logs with when it is given no logger: warnings and errors, as pino's lines of JSON, to standard error, so that a
 * handler that fails is never silent and standard output stays the program's own.
 */
export class StandardLogger implements Logger {
  readonly trace: LogMethod = nothing
  readonly debug: LogMethod = nothing
  readonly info: LogMethod = nothing
  readonly #outlet: Outlet
  readonly #bindings: Readonly<Record<string, unknown>>

  constructor(bindings: Readonly<Record<string, unknown>> = {}, outlet: Outlet = new Outlet()) {
    this.#bindings = bindings
    this.#outlet = outlet
  }

  readonly warn: LogMethod = (fields: object | string, text?: string) => this.#write('warn', fields, text)
  readonly error: LogMethod = (fields: object | string, text?: string) => this.#write('error', fields, text)

  #write(level: Level, fields: object | string, text: string | undefined): void {
    if (typeof fields === 'string') this.#outlet.write(level, this.#bindings, fields)
    else this.#outlet.write(level, { ...this.#bindings, ...fields }, text)
  }

  child(bindings: Record<string, unknown>): Logger {
    return new StandardLogger({ ...this.#bindings, ...bindings }, this.#outlet)
  }

  /** Loads pino; until then lines wait. @throws `core.peer_missing` where pino is not installed. */
  load(): Promise<void> {
    return this.#outlet.load()
  }
}

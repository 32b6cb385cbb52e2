/** One log line: fields first, then the text, as in pino. */
export interface LogMethod {
  (fields: object, text?: string): void
  (text: string): void
}

/** The part of a pino logger that the library uses; a pino instance satisfies it. */
export interface Logger {
  readonly trace: LogMethod
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  child(bindings: Record<string, unknown>): Logger
}

const nothing: LogMethod = () => {}

/** Writes nothing: `createBus({ …, logger: silentLogger })` for a bus that is not to log. */
export const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silentLogger,
}

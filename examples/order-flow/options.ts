import { existsSync, readdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { SERVICES, type ServiceName } from './service.ts'
import { TRANSPORTS, type TransportName } from './transports.ts'

/** What the demo was asked for. */
export interface DemoOptions {
  readonly transport: TransportName
  /** A broker that runs already; undefined for a private one. */
  readonly url: string | undefined
  /** The file with the invoices; undefined for generated ones. */
  readonly input: string | undefined
  readonly seed: number
  /** Invoices to generate. */
  readonly invoices: number
  /** Instances of each consumer. */
  readonly services: number
  readonly hasChaos: boolean
  /** Invoices a second that the shop publishes at most; undefined for no limit. */
  readonly invoicesPerSecond: number | undefined
  /** A consumer to leave out. */
  readonly without: ServiceName | undefined
  /** Folder for all files, which then stay; undefined for a temporary one. */
  readonly keep: string | undefined
  readonly stallSeconds: number
  readonly limitSeconds: number
  readonly isJson: boolean
}

/** What the user asked for makes no sense; the message is for them. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The text of `--help`. */
export const HELP: string = `npm run demo -- [options]

A retail order flow as separate processes on one bus. The shop reads invoices and publishes them as events,
stock reacts with commands, billing keeps the ledger, reporting folds what it hears into figures. Every invoice
that sells something is an order, too: a saga reserves stock, takes the payment and ships, and undoes all of it
where stock or payment are refused, a payment takes too long, or the file holds a cancellation. Every service
keeps a SQLite file of its own, in which what it writes, what it has handled and what it publishes commit together;
a relay takes the messages from there to the bus. The summary is added up from the files of the consumers, and
checks that no message had an effect twice and that all books agree. Meanwhile a till asks stock for
prices and watches who comes and goes: no question fails, since the list price stands in where nobody answers.

  --transport NAME    sqlite (default), nats, rabbitmq, postgres, or memory with all services in one process
  --url URL           a NATS, RabbitMQ or PostgreSQL server that runs already; without it the demo starts one of its
                      own (two demos at the same time on one server would take each other's messages)
  --input FILE.csv    invoices to read; without it the demo makes some
  --seed N            makes generated invoices repeatable (default 1)
  --invoices N        how many to generate (default 400)
  --services N        instances of every consumer (default 1)
  --chaos             kills a random service process every second with SIGKILL and starts it again, and every
                      seven seconds or so the demo's own broker; with sqlite, where a file is the broker, all
                      processes that use it die at once. Who has got nowhere yet since it was started is spared,
                      and so is the till, which looks on
  --rate N            invoices a second that the shop publishes at most (default: no limit; with --chaos 64,
                      so that there is something to kill)
  --without NAME      leaves stock, billing, reporting or orders out, to see that the summary is wrong then
  --keep DIR          uses this new or empty folder for all files and leaves them there
  --stall-seconds N   gives up when nothing has moved for so long (default 120)
  --limit-seconds N   gives up after so long in any case (default 900)
  --json              the summary as one line of JSON; progress goes to standard error
  --help              this text

Exit code: 0 when everything published was handled, 1 when not, 2 for options that make no sense.
`

const OPTIONS = {
  transport: { type: 'string', default: 'sqlite' },
  url: { type: 'string' },
  input: { type: 'string' },
  seed: { type: 'string', default: '1' },
  invoices: { type: 'string', default: '400' },
  services: { type: 'string', default: '1' },
  chaos: { type: 'boolean', default: false },
  rate: { type: 'string' },
  without: { type: 'string' },
  keep: { type: 'string' },
  'stall-seconds': { type: 'string', default: '120' },
  'limit-seconds': { type: 'string', default: '900' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

const CHAOS_RATE = 64

/**
 * Reads the command line; `help` where that was asked for.
 *
 * @throws `UsageError`.
 */
export function optionsOf(args: readonly string[]): DemoOptions | 'help' {
  const { values } = parsed(args)
  if (values.help) return 'help'
  const transport = oneOf('--transport', values.transport, TRANSPORTS)
  if (values.chaos && transport === 'memory') {
    throw new UsageError('--chaos kills processes, and with --transport memory all services are one process, whose death loses the messages with it')
  }
  if (values.url !== undefined && !hasServer(transport)) throw new UsageError(`--url names a broker, and ${transport} has none`)
  if (values.url !== undefined && !URL.canParse(values.url)) throw new UsageError('--url is not a URL')
  if (values.keep !== undefined && existsSync(values.keep) && !isEmptyFolder(values.keep)) throw new UsageError(`--keep needs a new or empty folder: ${values.keep}`)
  return {
    transport,
    url: values.url,
    input: values.input === undefined ? undefined : readable(values.input),
    seed: whole('--seed', values.seed, 0, 2 ** 31 - 1),
    invoices: whole('--invoices', values.invoices, 1, 1_000_000),
    services: whole('--services', values.services, 1, 16),
    hasChaos: values.chaos,
    invoicesPerSecond: values.rate === undefined ? (values.chaos ? CHAOS_RATE : undefined) : whole('--rate', values.rate, 1, 100_000),
    without: values.without === undefined ? undefined : oneOf('--without', values.without, SERVICES.filter((name) => name !== 'shop' && name !== 'till')),
    keep: values.keep === undefined ? undefined : resolve(values.keep),
    stallSeconds: whole('--stall-seconds', values['stall-seconds'], 1, 3_600),
    limitSeconds: whole('--limit-seconds', values['limit-seconds'], 1, 86_400),
    isJson: values.json,
  }
}

/** True where the transport is a server, which the demo can start for itself. */
export function hasServer(transport: TransportName): transport is 'nats' | 'rabbitmq' | 'postgres' {
  return transport !== 'sqlite' && transport !== 'memory'
}

function parsed(args: readonly string[]): ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>> {
  try {
    return parseArgs({ args: [...args], options: OPTIONS })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

function oneOf<T extends string>(option: string, value: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value)
  if (found === undefined) throw new UsageError(`${option} is one of ${choices.join(', ')}, not ${JSON.stringify(value)}`)
  return found
}

function whole(option: string, text: string, min: number, max: number): number {
  const value = /^\d{1,12}$/.test(text) ? Number(text) : NaN
  if (!(value >= min && value <= max)) throw new UsageError(`${option} is a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`)
  return value
}

function readable(path: string): string {
  const file = resolve(path)
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) throw new UsageError(`--input is not a file: ${path}`)
  return file
}

function isEmptyFolder(path: string): boolean {
  return statSync(path).isDirectory() && readdirSync(path).length === 0
}

import { type RetryOptions, retryNames } from '../core/backoff.ts'
import { isTrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import {
  type CommandContract, type ContractKind, type ContractTypes, type DeclaredErrorOf, DefinedContract, type EventContract, type QueryContract,
} from './contract.ts'
import type { InputOf, OutputOf, Schema } from './schema.ts'
import type { UpcastChain } from './upcast.ts'

interface CommonOptions<S extends Schema, V extends number, U> {
  /** For people: shown in the catalogue and in generated documents. */
  readonly description?: string
  /** Version of the schema, from 1. Default 1. */
  readonly version?: V
  /** zod 4, or any Standard Schema with a synchronous check. */
  readonly schema: S
  /** The unit of ordering, such as an order id: 1 to 255 bytes without control characters. */
  readonly key?: (data: OutputOf<S>) => string
  /** One function per older version, each giving the next version's shape. */
  readonly upcast?: U
  /** Default of subscriptions: keep the order of each key. Needs `key`. Default `none`. */
  readonly order?: 'key' | 'none'
  /** Defaults of subscriptions. */
  readonly retry?: RetryOptions
}

/** What `event` takes. */
export interface EventOptions<S extends Schema, V extends number, U> extends CommonOptions<S, V, U> {
  /** Whether the event may leave the stream it was appended to. Default `private`. */
  readonly visibility?: 'public' | 'private'
}

/** What `command` takes. */
export interface CommandOptions<S extends Schema, V extends number, U, R extends Schema, E extends Record<string, Schema>>
  extends CommonOptions<S, V, U> {
  /** Schema of the answer, for commands that are asked and not only sent. */
  readonly response?: R
  /** Declared errors by name, each with the schema of its data. */
  readonly errors?: E
}

/** What `query` takes. */
export interface QueryOptions<S extends Schema, V extends number, U, R extends Schema, E extends Record<string, Schema>> {
  readonly description?: string
  readonly version?: V
  readonly request: S
  readonly response: R
  /** Declared errors by name, each with the schema of its data. */
  readonly errors?: E
  /** One function per older version of the request. */
  readonly upcast?: U
}

type ErrorData<E extends Record<string, Schema>> = { readonly [N in keyof E]: OutputOf<E[N]> }
type NoErrors = Record<never, Schema>
type NothingSchema = Schema<undefined, undefined>
/** Order by key needs a key; without one only `none` fits. */
type OrderNeedsKey = { readonly key: unknown } | { readonly order?: 'none' }

/** The types of an event with this schema; exported so that a user's declarations can name it. */
export interface EventTypes<S extends Schema> extends ContractTypes {
  readonly input: InputOf<S>
  readonly output: OutputOf<S>
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** The types of a command or query with these schemas; exported so that a user's declarations can name it. */
export interface CallTypes<S extends Schema, R extends Schema, E extends Record<string, Schema>> extends ContractTypes {
  readonly input: InputOf<S>
  readonly output: OutputOf<S>
  readonly replyInput: InputOf<R>
  readonly replyOutput: OutputOf<R>
  readonly errors: ErrorData<E>
}

const COMMON = { description: true, version: true, schema: true, key: true, upcast: true, order: true, retry: true } as const
const EVENT: OptionNames = optionNames<EventOptions<Schema, 1, undefined>>({ ...COMMON, visibility: true })
const COMMAND: OptionNames = optionNames<CommandOptions<Schema, 1, undefined, Schema, NoErrors>>({ ...COMMON, response: true, errors: true })
const QUERY: OptionNames = optionNames<QueryOptions<Schema, 1, undefined, Schema, NoErrors>>({
  description: true, version: true, request: true, response: true, errors: true, upcast: true,
})

/**
 * Defines an event: something that happened, for any number of groups.
 *
 * @param type `context.kebab-name`, in the past tense: `sales.order-placed`.
 * @throws `contract.definition_invalid` for a name outside the grammar, a version below 1, a gap or
 *   a surplus in the upcaster chain, an asynchronous schema, or order without a key; `core.option_unknown`.
 */
export function event<const T extends string, S extends Schema, const V extends number = 1, U = undefined>(
  type: T,
  options: EventOptions<S, V, U> & OrderNeedsKey & UpcastChain<V, InputOf<S>, U>,
): EventContract<T, EventTypes<S>> {
  checkNames('event', type, options, EVENT)
  return new DefinedEvent<T, EventTypes<S>>({ ...options, type, visibility: options.visibility ?? 'private' })
}

/**
 * Defines a command: something to be done by exactly one group. Without `response` it is only sent.
 *
 * @param type `context.kebab-name`, in the imperative: `inventory.reserve-stock`.
 * @throws as `event` does.
 */
export function command<
  const T extends string,
  S extends Schema,
  const V extends number = 1,
  U = undefined,
  R extends Schema = NothingSchema,
  E extends Record<string, Schema> = NoErrors,
>(
  type: T,
  options: CommandOptions<S, V, U, R, E> & OrderNeedsKey & UpcastChain<V, InputOf<S>, U>,
): CommandContract<T, CallTypes<S, R, E>> {
  checkNames('command', type, options, COMMAND)
  return new DefinedCommand<T, CallTypes<S, R, E>>({ ...options, type })
}

/**
 * Defines a query: a question that one running instance answers.
 *
 * @param type `context.kebab-name`, in the imperative: `pricing.quote-price`.
 * @throws as `event` does.
 */
export function query<
  const T extends string,
  S extends Schema,
  R extends Schema,
  const V extends number = 1,
  U = undefined,
  E extends Record<string, Schema> = NoErrors,
>(type: T, options: QueryOptions<S, V, U, R, E> & UpcastChain<V, InputOf<S>, U>): QueryContract<T, CallTypes<S, R, E>> {
  checkNames('query', type, options, QUERY)
  const { request, ...rest } = options
  return new DefinedQuery<T, CallTypes<S, R, E>>({ ...rest, schema: request, type })
}

/** What callers without types misspell. @throws `core.option_unknown`, `core.option_invalid`. */
function checkNames(kind: ContractKind, type: string, options: object & { readonly retry?: RetryOptions }, known: OptionNames): void {
  const place = `${kind}(${String(JSON.stringify(type)).slice(0, 120)})`
  refuseUnknown(place, options, known, kind === 'query' ? 'an object such as { request, response }' : 'an object such as { schema }')
  if (options.retry !== undefined) refuseUnknown(`retry of ${place}`, options.retry, retryNames)
}

class DefinedEvent<T extends string, X extends ContractTypes> extends DefinedContract<T, X> implements EventContract<T, X> {
  readonly kind = 'event'
}

class DefinedCommand<T extends string, X extends ContractTypes> extends DefinedContract<T, X> implements CommandContract<T, X> {
  readonly kind = 'command'

  errorIn(thrown: unknown): DeclaredErrorOf<T, X> | undefined {
    return declaredIn(this, thrown)
  }
}

class DefinedQuery<T extends string, X extends ContractTypes> extends DefinedContract<T, X> implements QueryContract<T, X> {
  readonly kind = 'query'

  errorIn(thrown: unknown): DeclaredErrorOf<T, X> | undefined {
    return declaredIn(this, thrown)
  }
}

function declaredIn<T extends string, X extends ContractTypes>(contract: DefinedContract<T, X>, thrown: unknown): DeclaredErrorOf<T, X> | undefined {
  if (!isTrunklineError(thrown, 'contract.declared_error')) return undefined
  const { details } = thrown
  if (details.type !== contract.type || !contract.declaresError(details.name)) return undefined
  // `error` and the asker's decoding both validated the data with the schema declared under this name.
  return details as unknown as DeclaredErrorOf<T, X>
}

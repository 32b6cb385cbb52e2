import type { RetryOptions } from '../core/backoff.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import { decodeBody, encodeBody } from './body.ts'
import { fingerprintOf, jsonSchemaOf, schemaShape } from './fingerprint.ts'
import { isTypeName, keyProblem } from './names.ts'
import type { Schema } from './schema.ts'
import { keepsShape } from './shape.ts'
import { type Upcaster, checkedUpcasts, upcasted } from './upcast.ts'
import { type Validator, probe, validated, validatorOf } from './validate.ts'

/** An event happened, for any number of groups; a command is to be done, by one group; a query is asked. */
export type ContractKind = 'event' | 'command' | 'query'

/** What the compiler knows of a contract; no value of it exists at run time. */
export interface ContractTypes {
  readonly input: unknown
  readonly output: unknown
  readonly replyInput: unknown
  readonly replyOutput: unknown
  /** Data of each declared error, by name. */
  readonly errors: object
}

/** What every kind of contract can tell. Contracts are values: define each once and import it where it is used. */
export interface Contract<T extends string = string, X extends ContractTypes = ContractTypes> {
  readonly kind: ContractKind
  /** `context.kebab-name`; the subject and topology on every broker derive from it. */
  readonly type: T
  /** Version of the schema, from 1. */
  readonly version: number
  readonly description: string | undefined
  /** True where messages have an ordering key. */
  readonly hasKey: boolean
  /** Whether subscriptions keep the order of a key unless they say otherwise. */
  readonly order: 'key' | 'none'
  /** Retry defaults of subscriptions. */
  readonly retry: RetryOptions
  /** `public` events may leave the stream they were appended to; `private` is the default there. */
  readonly visibility: 'public' | 'private'
  /** 32 hexadecimal digits over kind, type, version, JSON Schemas and key presence; the same on every machine. */
  readonly fingerprint: string
  /** JSON Schema of the data, or undefined where the schema library cannot say it. */
  readonly jsonSchema: Record<string, unknown> | undefined
  /** The same for the answer; undefined also where there is none. */
  readonly replyJsonSchema: Record<string, unknown> | undefined
  /** Names of the declared errors. */
  readonly errorNames: readonly string[]
  /** True where an ask gets an answer with data. */
  readonly hasReply: boolean
  /** Carries the types; never set. */
  readonly '~types'?: X
}

/** The type of an event. */
export interface EventContract<T extends string = string, X extends ContractTypes = ContractTypes> extends Contract<T, X> {
  readonly kind: 'event'
}

/** The type of a command. */
export interface CommandContract<T extends string = string, X extends ContractTypes = ContractTypes> extends Contract<T, X>, Failing<T, X> {
  readonly kind: 'command'
}

/** The type of a query. */
export interface QueryContract<T extends string = string, X extends ContractTypes = ContractTypes> extends Contract<T, X>, Failing<T, X> {
  readonly kind: 'query'
}

/** Any command, whatever its types: what functions that take commands ask for. */
export interface AnyCommand extends Contract {
  readonly kind: 'command'
}

/** Any query, whatever its types: what functions that take queries ask for. */
export interface AnyQuery extends Contract {
  readonly kind: 'query'
}

/** What commands and queries add: errors that belong to the contract. */
export interface Failing<T extends string, X extends ContractTypes> {
  /**
   * Makes a declared error for the handler to throw; the asker gets it with the same name and data.
   *
   * @throws `contract.payload_invalid` when the data does not fit the error's schema.
   */
  error<N extends keyof X['errors'] & string>(name: N, data: X['errors'][N]): TrunklineError<'contract.declared_error'>
  /** The declared error inside anything an ask rejected with, or undefined for every other error. */
  errorIn(thrown: unknown): DeclaredErrorOf<T, X> | undefined
}

/** One of the declared errors of a contract, told apart by `name`. */
export type DeclaredErrorOf<T extends string, X extends ContractTypes> = {
  readonly [N in keyof X['errors'] & string]: { readonly type: T; readonly name: N; readonly data: X['errors'][N] }
}[keyof X['errors'] & string]

/** What a publisher gives. */
export type DataInput<C extends Contract> = NonNullable<C['~types']>['input']
/** What a handler gets. */
export type DataOutput<C extends Contract> = NonNullable<C['~types']>['output']
/** What a handler of a command or query answers. */
export type ReplyInput<C extends Contract> = NonNullable<C['~types']>['replyInput']
/** What an asker gets. */
export type ReplyOutput<C extends Contract> = NonNullable<C['~types']>['replyOutput']

/** What a contract is made from, its types erased. */
export interface Definition {
  readonly type: string
  readonly description?: string | undefined
  readonly version?: number | undefined
  readonly schema: Schema
  readonly key?: ((data: never) => string) | undefined
  readonly upcast?: unknown
  readonly order?: 'key' | 'none' | undefined
  readonly retry?: RetryOptions | undefined
  readonly visibility?: 'public' | 'private' | undefined
  readonly response?: Schema | undefined
  readonly errors?: Record<string, Schema> | undefined
}

/** A message's data as it goes out. */
export interface EncodedData {
  readonly body: Buffer
  readonly key: string | undefined
}

/**
 * The working side of a contract: what the bus calls. Users see the `Contract` interfaces only; every
 * contract made by `event`, `command` and `query` is one of these.
 */
export abstract class DefinedContract<T extends string, X extends ContractTypes> implements Contract<T, X> {
  abstract readonly kind: ContractKind
  readonly type: T
  readonly version: number
  readonly description: string | undefined
  readonly hasKey: boolean
  readonly order: 'key' | 'none'
  readonly retry: RetryOptions
  readonly visibility: 'public' | 'private'
  readonly hasReply: boolean
  declare readonly '~types'?: X
  readonly #schema: Schema
  readonly #validate: Validator
  readonly #key: ((data: never) => string) | undefined
  readonly #upcasts: readonly Upcaster[]
  readonly #response: Schema | undefined
  readonly #validateReply: Validator | undefined
  readonly #errors: ReadonlyMap<string, Schema>
  readonly #definition: Definition & { readonly type: T }
  #opened: DefinedContract<string, ContractTypes> | undefined
  #fingerprint: string | undefined
  #sendsOutput: boolean | undefined

  constructor(definition: Definition & { readonly type: T }) {
    const { type } = definition
    this.#definition = definition
    if (!isTypeName(type)) throw invalid(type, 'the name must be context.kebab-name: two words of lower-case letters, digits and dashes with one dot between')
    this.type = type
    this.version = definition.version ?? 1
    if (!Number.isSafeInteger(this.version) || this.version < 1) throw invalid(type, `version ${this.version} is not a whole number from 1`)
    this.description = definition.description
    this.#schema = checkedSchema(type, 'schema', definition.schema)
    this.#validate = validatorOf(type, definition.schema)
    this.#key = definition.key
    this.hasKey = definition.key !== undefined
    this.order = definition.order ?? 'none'
    if (this.order === 'key' && !this.hasKey) throw invalid(type, 'order by key needs a key')
    this.retry = definition.retry ?? {}
    this.visibility = definition.visibility ?? 'private'
    this.#upcasts = checkedUpcasts(type, this.version, definition.upcast)
    this.#response = definition.response === undefined ? undefined : checkedSchema(type, 'response', definition.response)
    this.#validateReply = this.#response === undefined ? undefined : validatorOf(type, this.#response)
    this.hasReply = this.#response !== undefined
    this.#errors = new Map(Object.entries(definition.errors ?? {}).map(([name, schema]) => [name, checkedSchema(type, `errors.${name}`, schema)]))
  }

  /**
   * Looks whether its schemas can be used. Not when it is defined: a recursive schema may refer to what comes later in its module.
   *
   * @throws `contract.definition_invalid` for a schema that is asynchronous whatever it is given.
   */
  probe(): void {
    probe(this.#validate)
    if (this.#validateReply !== undefined) probe(this.#validateReply)
    for (const schema of this.#errors.values()) probe(validatorOf(this.type, schema))
  }

  get errorNames(): readonly string[] {
    return [...this.#errors.keys()]
  }

  get jsonSchema(): Record<string, unknown> | undefined {
    return jsonSchemaOf(this.#schema)
  }

  get replyJsonSchema(): Record<string, unknown> | undefined {
    return this.#response === undefined ? undefined : jsonSchemaOf(this.#response)
  }

  get fingerprint(): string {
    this.#fingerprint ??= fingerprintOf({
      kind: this.kind,
      type: this.type,
      version: this.version,
      hasKey: this.hasKey,
      schema: schemaShape(this.#schema),
      response: schemaShape(this.#response),
      errors: Object.fromEntries([...this.#errors].map(([name, schema]) => [name, schemaShape(schema)])),
    })
    return this.#fingerprint
  }

  /**
   * Validates data and writes it as bytes.
   *
   * What travels is the value as the schema gives it back: unknown fields are gone, defaults are
   * filled in. A schema that changes types on the way (a transform, a codec, coercion) travels as
   * given, so that the consumer can run the same schema again.
   *
   * @throws `contract.payload_invalid`, `contract.payload_unencodable`, `contract.payload_too_large`,
   *   `contract.attribute_invalid` for a bad key.
   */
  encode(data: unknown, bytesMax?: number): EncodedData {
    const value = validated(this.type, 'publish', this.#validate, data)
    this.#sendsOutput ??= keepsShape(this.#schema)
    const body = encodeBody(this.type, this.#sendsOutput ? value : data, bytesMax)
    return { body, key: this.#key === undefined ? undefined : this.#keyOf(this.#key, value) }
  }

  #keyOf(key: (data: never) => string, value: unknown): string {
    let text: unknown
    try {
      // The value has just been validated by the schema that the key function was typed with.
      text = key(value as never)
    } catch (cause) {
      const details = { attribute: 'key', problem: `${this.type}: the key function threw: ${errorText(cause).slice(0, 500)}` }
      throw new TrunklineError('contract.attribute_invalid', details, { cause })
    }
    const problem = keyProblem(text)
    if (problem !== undefined) throw new TrunklineError('contract.attribute_invalid', { attribute: 'key', problem: `${this.type}: ${problem}` })
    return String(text)
  }

  /**
   * Reads bytes of the given version, lifts them to this version and validates them.
   *
   * @throws `contract.body_malformed`, `contract.payload_too_large`, `contract.version_unknown`,
   *   `contract.upcast_failed`, `contract.payload_invalid`.
   */
  decode(version: number, body: Uint8Array, bytesMax?: number): unknown {
    let data = decodeBody(this.type, body, bytesMax)
    if (version !== this.version) data = upcasted(this.type, this.#upcasts, version, this.version, data)
    return validated(this.type, 'consume', this.#validate, data)
  }

  /**
   * Lifts data of an older version to what this version's schema takes. Nothing is validated.
   *
   * @throws `contract.version_unknown`, `contract.upcast_failed`.
   */
  lift(version: number, data: unknown): unknown {
    return upcasted(this.type, this.#upcasts, version, this.version, data)
  }

  /** Validates an answer and writes it as bytes. Without a response schema the answer is `null`. */
  encodeReply(data: unknown, bytesMax?: number): Buffer {
    if (this.#validateReply === undefined || this.#response === undefined) return encodeBody(this.type, null)
    const value = validated(this.type, 'reply', this.#validateReply, data)
    return encodeBody(this.type, keepsShape(this.#response) ? value : data, bytesMax)
  }

  /** Reads and validates an answer. */
  decodeReply(body: Uint8Array, bytesMax?: number): unknown {
    const data = decodeBody(this.type, body, bytesMax)
    return this.#validateReply === undefined ? undefined : validated(this.type, 'reply', this.#validateReply, data)
  }

  /**
   * The same contract, whose answers are read with the JSON that they travel as: `{ value, body }`, an `OpenedReply`. For what hands answers on, a gateway for
   * instance: a schema that changes types on the way (a transform, a codec) cannot write back what it gave.
   */
  opened(): DefinedContract<string, ContractTypes> {
    this.#opened ??= new OpenedContract(this.kind, this.#definition)
    return this.#opened
  }

  /** The bytes to hand an answer on with: those of the validated value, or where the schema changes types on the way, the bytes as they came. */
  protected openReply(value: unknown, body: Uint8Array, bytesMax?: number): OpenedReply {
    if (this.#response === undefined) return { value, body: encodeBody(this.type, null) }
    return { value, body: keepsShape(this.#response) ? encodeBody(this.type, value, bytesMax) : body }
  }

  /** Makes the declared error `name`; see `Failing.error`. */
  error(name: string, data: unknown): TrunklineError<'contract.declared_error'> {
    const schema = this.#errors.get(name)
    if (schema === undefined) throw invalid(this.type, `the error ${JSON.stringify(name)} is not declared`)
    const value = validated(this.type, 'reply', validatorOf(this.type, schema), data)
    return new TrunklineError('contract.declared_error', { type: this.type, name, data: value })
  }

  /** True where `name` is one of the declared errors. */
  declaresError(name: string): boolean {
    return this.#errors.has(name)
  }

  /** JSON Schemas of the answer and of the data of declared errors, for documents; undefined where there is none or its library cannot say it. */
  answerShapes(): { readonly reply: Record<string, unknown> | undefined; readonly errors: ReadonlyMap<string, Record<string, unknown> | undefined> } {
    return {
      reply: this.#response === undefined ? undefined : jsonSchemaOf(this.#response),
      errors: new Map([...this.#errors].map(([name, schema]) => [name, jsonSchemaOf(schema)])),
    }
  }
}

/** An answer with the JSON that it travels as. */
export interface OpenedReply {
  readonly value: unknown
  /** UTF-8 JSON; `null` for contracts without a reply. */
  readonly body: Uint8Array
}

/** See `DefinedContract.opened`. */
class OpenedContract extends DefinedContract<string, ContractTypes> {
  readonly kind: ContractKind

  constructor(kind: ContractKind, definition: Definition & { readonly type: string }) {
    super(definition)
    this.kind = kind
  }

  override decodeReply(body: Uint8Array, bytesMax?: number): OpenedReply {
    return this.openReply(super.decodeReply(body, bytesMax), body, bytesMax)
  }
}

/**
 * The working side of a contract.
 *
 * @throws `core.option_invalid` for an object that no definition function made.
 */
export function defined(contract: Contract): DefinedContract<string, ContractTypes> {
  if (contract instanceof DefinedContract) return contract
  throw new TrunklineError('core.option_invalid', { option: 'contract', expected: 'a value made by event(), command() or query() of this copy of trunkline', actual: typeof contract })
}

function invalid(type: string, problem: string): TrunklineError {
  return new TrunklineError('contract.definition_invalid', { type: String(type).slice(0, 200), problem })
}

function checkedSchema(type: string, option: string, schema: Schema): Schema {
  // A caller in plain JavaScript may have given anything.
  const props: unknown = (schema as { readonly '~standard'?: unknown } | undefined)?.['~standard']
  if (typeof props !== 'object' || props === null) throw invalid(type, `${option} is not a Standard Schema (zod 4, valibot, arktype, …)`)
  return schema
}

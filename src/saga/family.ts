import { type AnyCommand, type CommandContract, type Contract, type ContractTypes, type EventContract, defined } from '../contract/contract.ts'
import { command } from '../contract/define.ts'
import { isTypeName } from '../contract/names.ts'
import type { Schema } from '../contract/schema.ts'
import type { Message, WireMessage } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import { derivedId } from '../core/random.ts'
import type { Decider } from '../store/decider.ts'
import { type SagaDefinition, invalid } from './definition.ts'
import { parentOf } from './headers.ts'
import { type AnySagaEvent, instanceDecider } from './instance-log.ts'
import type { Instance } from './instance.ts'
import type { SagaMessage } from './port.ts'

/** An alarm that has gone off, on its way back to its instance. */
export interface SagaWake {
  readonly instance: string
  readonly timer: string
  readonly token: string
}

/** The types of the command that wakes an instance. */
export interface SagaWakeTypes extends ContractTypes {
  readonly input: SagaWake
  readonly output: SagaWake
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** It is sent by this library alone, through the user's own broker. */
const anyWake: Schema<SagaWake> = {
  '~standard': {
    version: 1, vendor: 'trunkline',
    validate: (value) => {
      const isWake = typeof value === 'object' && value !== null && ['instance', 'timer', 'token'].every((name) => typeof Reflect.get(value, name) === 'string')
      // Its three fields have just been looked at.
      return isWake ? { value: value as SagaWake } : { issues: [{ message: 'it is no alarm of a saga' }] }
    },
  },
}

/** All versions of one saga in one service. */
export class SagaFamily {
  readonly name: string
  /** Oldest first. */
  readonly versions: readonly SagaDefinition[]
  readonly newest: SagaDefinition
  readonly decider: Decider<AnySagaEvent, never, Instance>
  /** What its alarms send: a command of this service's own, so that another service with a saga of the same name does not take it. */
  readonly wake: CommandContract<string, SagaWakeTypes>

  /** @throws `saga.definition_invalid`. */
  constructor(service: string, definitions: readonly SagaDefinition[]) {
    const sorted = definitions.toSorted((one, other) => one.version - other.version)
    const newest = sorted.at(-1)
    if (newest === undefined) throw invalid('', 'no definition was given')
    this.newest = newest
    this.name = newest.name
    this.versions = sorted
    if (new Set(sorted.map(({ version }) => version)).size < sorted.length) throw invalid(this.name, 'one version is given twice')
    const type = `${service.replaceAll('_', '-')}-sagas.wake-${this.name}`
    if (!isTypeName(type)) throw invalid(this.name, `the service's name and its own are too long together: ${type}`)
    this.wake = command(type, { schema: anyWake, key: ({ instance }) => Buffer.byteLength(instance) > 200 ? derivedId(instance) : instance })
    this.decider = instanceDecider(newest.category)
  }

  /** Everything that any version takes. @throws `saga.definition_invalid` where two versions mean different contracts by one type. */
  contracts(): readonly Contract[] {
    const all = new Map<string, Contract>()
    for (const { contract } of this.versions.flatMap(({ inputs }) => [...inputs.values()])) {
      const known = all.get(contract.type)
      if (known !== undefined && known.fingerprint !== contract.fingerprint) throw invalid(this.name, `its versions have different contracts called ${contract.type}`)
      all.set(contract.type, known ?? contract)
    }
    return [...all.values()]
  }

  /** What it takes of events. */
  events(): readonly EventContract[] {
    return this.contracts().filter((contract): contract is EventContract => contract.kind === 'event')
  }

  /** What it takes of commands. */
  commands(): readonly AnyCommand[] {
    return this.contracts().filter((contract): contract is AnyCommand => contract.kind === 'command')
  }

  /**
   * The definition that an instance runs by: the newest for one that has not started, and where a migration to it was declared.
   *
   * @throws `saga.version_unknown`.
   */
  of(instance: Readonly<Instance>, id: string): SagaDefinition {
    const { version } = instance
    if (version === 0 || this.newest.migrations.has(version)) return this.newest
    const found = this.versions.find((one) => one.version === version)
    if (found === undefined) throw new TrunklineError('saga.version_unknown', { saga: this.name, instance: id, version })
    return found
  }

  /**
   * The instance that a message belongs to; undefined for one that is none of this saga's business.
   *
   * @throws `saga.correlation_missing`, `saga.correlation_ambiguous`.
   */
  instanceOf(message: SagaMessage): string | undefined {
    let found: string | undefined
    for (const definition of this.versions) {
      const id = definition.inputs.has(message.type) ? definition.instanceOf(message) : undefined
      if (id === undefined) continue
      if (found !== undefined && id !== found) throw new TrunklineError('saga.correlation_ambiguous', { saga: this.name, type: message.type, id: message.id, instances: [found, id] })
      found = id
    }
    return found
  }

  /** Id of an alarm in the store; setting one again under it replaces it. */
  timerId(instance: string, timer: string): string {
    return derivedId('saga-alarm', this.wake.type, instance, timer)
  }
}

/** A message as transitions take it. */
export function sagaMessage(message: Message, wire: Pick<WireMessage, 'body' | 'version' | 'hops'>): SagaMessage {
  const { id, source, type, data, correlationId, tenant, headers } = message
  return { id, source, type, data, version: wire.version, body: JSON.parse(Buffer.from(wire.body).toString()), correlationId, tenant, parent: parentOf(headers), hops: wire.hops }
}

/** A message made up from data: for what is given by hand. @throws `contract.*`. */
export function madeMessage(contract: Contract, data: unknown, ref: { readonly id: string; readonly source: string; readonly correlationId: string; readonly tenant?: string }): SagaMessage {
  const known = defined(contract)
  const { body } = known.encode(data)
  return { ...ref, type: contract.type, version: contract.version, data: known.decode(contract.version, body), body: JSON.parse(body.toString()), tenant: ref.tenant, parent: undefined }
}

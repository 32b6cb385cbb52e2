import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'
import { TrunklineError } from '../core/errors.ts'
import { type EventStore, category } from '../store/event-store.ts'
import { fact } from '../store/fact.ts'
import type { SagaFamily } from './family.ts'
import { sagaEvents } from './saga-events.ts'

/** What is known of a version of a saga. */
export interface VersionNote {
  readonly version: number
  /** `used`: a process runs it, or has run it. `drained`: no instance of it was unfinished up to the position. */
  readonly state: 'used' | 'drained'
  /** Position in the log, as text; the next look begins there. */
  readonly position: string | undefined
}

/** The types of what is noted of a version. */
export interface VersionNotedTypes extends ContractTypes {
  readonly input: VersionNote
  readonly output: VersionNote
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** It is written by the library alone. */
const anyNote: Schema<VersionNote> = { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as VersionNote }) } }

/** Stands in the stream `saga_versions-<name>` of each saga. */
export const SagaVersionNoted: EventContract<'saga.version-noted', VersionNotedTypes> = event('saga.version-noted', { schema: anyNote })

/**
 * Refuses a process that lacks the version of an unfinished instance, and notes the versions that it has.
 *
 * It costs one short stream. Only where a version was run that this process lacks, and to which no migration leads, the events of
 * the saga are read through, and that from where the last such look ended.
 *
 * @throws `saga.version_missing`, `store.*`.
 */
export async function checkVersions(events: EventStore<object>, family: SagaFamily): Promise<void> {
  const stream = `saga_versions-${family.name}`
  const known = new Map<number, VersionNote>()
  for await (const { data } of events.read(stream, [SagaVersionNoted])) known.set(data.version, data)
  const here = family.versions.map(({ version }) => version)
  const missing = [...known.values()].filter(({ version }) => !here.includes(version) && !family.newest.migrations.has(version))
  if (missing.length > 0) await checkDrained(events, family, stream, missing)
  const fresh = here.filter((version) => known.get(version)?.state !== 'used')
  if (fresh.length > 0) await events.append(stream, 'any', fresh.map((version) => fact(SagaVersionNoted, { version, state: 'used', position: undefined })))
}

async function checkDrained(events: EventStore<object>, family: SagaFamily, stream: string, missing: readonly VersionNote[]): Promise<void> {
  const versions = new Set(missing.map(({ version }) => version))
  const positions = missing.map(({ state, position }) => (state === 'drained' && position !== undefined ? BigInt(position) : undefined))
  // From the earliest of their positions; from the first event on where one of them has none.
  const after = positions.reduce((least, one) => (least === undefined || one === undefined ? undefined : one < least ? one : least), positions[0])
  const live = new Map<string, number>()
  let position = after
  const contracts = [sagaEvents.started, sagaEvents.ended, sagaEvents.migrated]
  for await (const one of events.read(category(family.newest.category), contracts, after === undefined ? {} : { after })) {
    position = one.position
    if (one.type === 'saga.started' && versions.has(one.data.version)) live.set(one.stream, one.data.version)
    else if (one.type !== 'saga.started') live.delete(one.stream)
  }
  const unfinished = [...new Set(live.values())].toSorted((one, other) => one - other)
  if (unfinished.length > 0) throw new TrunklineError('saga.version_missing', { saga: family.name, versions: unfinished, known: family.versions.map(({ version }) => version) })
  await events.append(stream, 'any', [...versions].map((version) => fact(SagaVersionNoted, { version, state: 'drained', position: position === undefined ? undefined : `${position}` })))
}

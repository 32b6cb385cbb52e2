import { z } from 'zod'
import type { EventContract } from '../../contract/contract.ts'
import { type EventTypes, event } from '../../contract/define.ts'
import { TEXT_LENGTH_MAX } from '../announcement.ts'
import type { InstanceEventKind } from '../directory-events.ts'
import type { Instance, InstanceState } from '../directory-state.ts'

/** One instance as the record has it: what a directory knew then, without contracts and load. */
export interface PastInstance extends Pick<Instance, 'service' | 'instance' | 'incarnation' | 'state' | 'health' | 'reasons' | 'version' | 'addresses' | 'weight' | 'tags' | 'startedAt'> {
  readonly zone?: string | undefined
}

/** What happened to an instance, as the events of a directory have it. */
export type RecordedChange = InstanceEventKind extends `instance-${infer Change}` ? Change : never

/** One transition in the record. */
export interface RecordedTransition {
  /** The bus that recorded it. */
  readonly recorder: string
  readonly change: RecordedChange
  readonly reason: string
  /** Milliseconds between seeing and storing it. A duration, so that nobody's clock counts but the database's. */
  readonly agoMs: number
  /** As it was from then on. */
  readonly instance: PastInstance
}

/** A part of everything that a recorder knew; the parts of one statement stand side by side in the stream. */
export interface RecordedStatement {
  readonly recorder: string
  /** From 0. */
  readonly part: number
  readonly parts: number
  /** Milliseconds between seeing and storing it. */
  readonly agoMs: number
  readonly instances: readonly PastInstance[]
}

/** Who writes the record. */
export interface RecordedRecorder {
  readonly recorder: string
}

const text = z.string().max(TEXT_LENGTH_MAX)
const count = z.int().nonnegative()
const states: readonly InstanceState[] = ['up', 'draining', 'held', 'suspect', 'down', 'stopped']
const changes: readonly RecordedChange[] = ['up', 'changed', 'draining', 'held', 'suspect', 'down', 'stopped']

const pastInstance: z.ZodType<PastInstance> = z.object({
  service: text, instance: text, incarnation: count, state: z.enum(states), health: z.enum(['up', 'degraded', 'down']), reasons: z.array(text), version: text,
  addresses: z.record(text, text), zone: text.optional(), weight: z.number(), tags: z.array(text), startedAt: text,
})

const transition: z.ZodType<RecordedTransition> = z.object({ recorder: text, change: z.enum(changes), reason: text, agoMs: z.number().nonnegative(), instance: pastInstance })
const statement: z.ZodType<RecordedStatement> = z.object({ recorder: text, part: count, parts: z.int().positive(), agoMs: z.number().nonnegative(), instances: z.array(pastInstance) })
const recorderOnly: z.ZodType<RecordedRecorder> = z.object({ recorder: text })

type Recording<T extends string, D> = EventContract<T, EventTypes<z.ZodType<D>>>

/** Something happened to an instance, as the recorder saw it. */
export const InstanceRecorded: Recording<'trunkline.instance-recorded', RecordedTransition> = event('trunkline.instance-recorded', { schema: transition })
/** Everything that the recorder knew: when it began, and from time to time, so that nobody has to read the record from its beginning. */
export const DirectoryRecorded: Recording<'trunkline.directory-recorded', RecordedStatement> = event('trunkline.directory-recorded', { schema: statement })
/** The recorder is there, and nothing happened for a while. */
export const RecordKept: Recording<'trunkline.record-kept', RecordedRecorder> = event('trunkline.record-kept', { schema: recorderOnly })
/** The recorder stops recording; another one goes on. */
export const RecordLeft: Recording<'trunkline.record-left', RecordedRecorder> = event('trunkline.record-left', { schema: recorderOnly })

/** What an instance is recorded as. */
export function pastOf({ service, instance, incarnation, state, health, reasons, version, addresses, zone, weight, tags, startedAt }: Instance): PastInstance {
  return { service, instance, incarnation, state, health, reasons, version, addresses, zone, weight, tags, startedAt }
}

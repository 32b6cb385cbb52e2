import { z } from 'zod'
import { NAME_LENGTH_MAX, TYPE_LENGTH_MAX } from '../core/limits.ts'

// What instances say about themselves. Everything here comes from other processes, so every text and list has a limit.

/** Longest text of an address, a tag or a zone. */
export const TEXT_LENGTH_MAX = 500
/** Addresses of one instance. */
export const ADDRESSES_MAX = 16
/** Tags of one instance. */
export const TAGS_MAX = 64
/** Contracts that one instance can announce; what a service has more of is not announced. */
export const CONTRACTS_MAX = 1_000
/** Reasons of a health that are announced. */
export const REASONS_MAX = 8

const text = z.string().max(TEXT_LENGTH_MAX)
const count = z.int().nonnegative()

/** One contract as it is announced. */
export interface ContractUse {
  readonly type: string
  readonly kind: 'event' | 'command' | 'query'
  readonly version: number
  readonly fingerprint: string
}

const contractUse: z.ZodType<ContractUse> = z.object({
  type: z.string().max(TYPE_LENGTH_MAX), kind: z.enum(['event', 'command', 'query']), version: z.int().positive(), fingerprint: z.string().max(64),
})

/** What changes seldom about an instance. */
export interface InstanceInfo {
  readonly version: string
  /** Where it can be reached: `bus` is its light-plane address; `http` and others are as its service gave them. */
  readonly addresses: Readonly<Record<string, string>>
  readonly zone?: string | undefined
  /** Share of calls that it wants, compared with others; 1 by default, 0 for none. */
  readonly weight: number
  readonly tags: readonly string[]
  /** RFC 3339 text by the instance's own clock; for display only. */
  readonly startedAt: string
  readonly accepts: readonly ContractUse[]
  readonly sends: readonly ContractUse[]
}

/** Checks an `InstanceInfo`. */
export const instanceInfo: z.ZodType<InstanceInfo> = z.object({
  version: text,
  addresses: z.record(text, text).refine((addresses) => Object.keys(addresses).length <= ADDRESSES_MAX, `at most ${ADDRESSES_MAX} addresses`),
  zone: text.optional(),
  weight: z.number().min(0).max(1_000),
  tags: z.array(text).max(TAGS_MAX),
  startedAt: text,
  accepts: z.array(contractUse).max(CONTRACTS_MAX),
  sends: z.array(contractUse).max(CONTRACTS_MAX),
})

/** How an instance feels. */
export type HealthState = 'up' | 'degraded' | 'down'

/** What every announcement says. */
export interface Beat {
  readonly service: string
  /** Name of the instance; the same after a restart where its service gave one. */
  readonly instance: string
  /** Id of its bus, which is another one after each restart. */
  readonly process: string
  /** Its light-plane address. */
  readonly address: string
  /** Number of its life: a higher one replaces a lower one. */
  readonly incarnation: number
  /** Number of this announcement in this life. */
  readonly seq: number
  /** Milliseconds until the next announcement, at the latest. */
  readonly beatMs: number
  readonly phase: 'up' | 'draining'
  readonly health: HealthState
  readonly reasons: readonly string[]
  /** Deliveries and requests that it handles. */
  readonly inFlight: number
  /** Longest time that its event loop was late in the last beats, in milliseconds. */
  readonly loopDelayMs: number
  /** Number of its `InstanceInfo`, which grows when that changes. */
  readonly infoRevision: number
  /** Instances that it knows to be there, itself included. */
  readonly size: number
}

const beatShape = {
  service: z.string().min(1).max(NAME_LENGTH_MAX), instance: z.string().min(1).max(TEXT_LENGTH_MAX), process: z.string().min(1).max(TEXT_LENGTH_MAX), address: text,
  incarnation: count, seq: count, beatMs: z.number().min(100).max(3_600_000), phase: z.enum(['up', 'draining']), health: z.enum(['up', 'degraded', 'down']),
  reasons: z.array(text).max(REASONS_MAX), inFlight: count, loopDelayMs: z.number().nonnegative(), infoRevision: count, size: count,
}

/** Checks a `Beat`. */
export const beat: z.ZodType<Beat> = z.object(beatShape)

/** An announcement with everything about its instance. */
export interface FullAnnouncement extends Beat {
  readonly info: InstanceInfo
}

/** Checks a `FullAnnouncement`. */
export const fullAnnouncement: z.ZodType<FullAnnouncement> = z.object({ ...beatShape, info: instanceInfo })

/** What one instance knows of another, as it tells a third one. */
export interface RosterRow {
  readonly beat: Beat
  readonly info: InstanceInfo
  /** Milliseconds since it was heard. A duration, so that nobody's clock counts. */
  readonly ageMs: number
  /** True where it has said goodbye or is believed to be gone. */
  readonly isGone: boolean
}

/** Checks a `RosterRow`. */
export const rosterRow: z.ZodType<RosterRow> = z.object({ beat, info: instanceInfo, ageMs: z.number().nonnegative(), isGone: z.boolean() })

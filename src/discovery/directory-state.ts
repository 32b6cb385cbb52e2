import type { Beat, HealthState, InstanceInfo } from './announcement.ts'

/** Numbers of the failure detector. Times are those that the reader was awake and connected. */
export interface DetectorSettings {
  /** Between two looks at the leases, in milliseconds. A longer pause was a stall of the reader, which counts as two. */
  readonly tickMs: number
  /** Announcements that an instance may miss before it is suspected. */
  readonly suspectAfterBeats: number
  /** Announcements that an instance may miss before it is believed to be gone, if a probe failed, too. */
  readonly downAfterBeats: number
  /** Probes answered by "nobody is there" that are believed at once. */
  readonly refusalsMax: number
  /** Probes without an answer, while others were heard, that are believed after `downAfterBeats`. */
  readonly silencesMax: number
  /** Time for an answer to a probe, in milliseconds. */
  readonly probeTimeoutMs: number
  /** Where more than this share of all instances would go at once, the reader rather doubts itself. */
  readonly preserveShare: number
  /** Losses of up to this many at once are always believed. */
  readonly preserveCountMin: number
  /** Longest time that the reader doubts itself, in milliseconds. */
  readonly preserveMs: number
  /** Returns from the dead in `flapWindowMs` after which an instance is held down. */
  readonly flapsMax: number
  readonly flapWindowMs: number
  readonly holdDownMs: number
  /** Down times that a gone instance is remembered for, so that late news cannot bring it back. */
  readonly goneKeptFactor: number
  /** Most instances that are remembered; what is beyond is not seen. */
  readonly instancesMax: number
}

/** The defaults: with an announcement every 4 s, suspected after 12 s, down after 24 s, or after 15 s where the broker knows that nobody is there. */
export const DETECTOR: DetectorSettings = {
  tickMs: 1_000, suspectAfterBeats: 3, downAfterBeats: 6, refusalsMax: 2, silencesMax: 2, probeTimeoutMs: 2_000, preserveShare: 1 / 3, preserveCountMin: 3, preserveMs: 300_000,
  flapsMax: 2, flapWindowMs: 300_000, holdDownMs: 60_000, goneKeptFactor: 4, instancesMax: 50_000,
}

/** How sure a reader is of an instance. `draining` and `held` are there, but get nothing new. */
export type InstanceState = 'up' | 'draining' | 'held' | 'suspect' | 'down' | 'stopped'

/** One instance as a reader sees it. */
export interface Instance {
  readonly service: string
  /** Name of the instance; the same after a restart where its service gave one. */
  readonly instance: string
  readonly incarnation: number
  readonly state: InstanceState
  /** What it says of itself; what its reader believes is `state`. */
  readonly health: HealthState
  readonly reasons: readonly string[]
  readonly version: string
  /** By protocol: `bus`, `http` and what else its service gave. Data, never dialled by itself. */
  readonly addresses: Readonly<Record<string, string>>
  readonly zone: string | undefined
  readonly weight: number
  readonly tags: readonly string[]
  readonly accepts: InstanceInfo['accepts']
  readonly sends: InstanceInfo['sends']
  /** RFC 3339 text by the instance's own clock. */
  readonly startedAt: string
  readonly inFlight: number
  readonly loopDelayMs: number
  /** Milliseconds since it was last heard, by the reader's own clock. */
  readonly silentMs: number
}

/** What is remembered of an instance. The fold owns it. */
export interface Member {
  beat: Beat
  info: InstanceInfo
  /** Which revision of it `info` is. */
  infoRevision: number
  liveness: 'up' | 'suspect' | 'down' | 'stopped'
  /** Awake time at which it was last heard. */
  heardAtMs: number
  /** Awake time at which `liveness` became what it is. */
  sinceMs: number
  /** Awake time at which a probe was asked for that has not come back. */
  probedAtMs: number | undefined
  refusals: number
  silences: number
  flapsAtMs: number[]
  heldUntilMs: number
}

/** A reader's view. The fold owns it and changes it; nothing else does. */
export interface DirectoryState {
  readonly self: string
  readonly selfProcess: string
  readonly settings: DetectorSettings
  readonly members: Map<string, Member>
  /** Reader's monotonic time of the last input. */
  lastMs: number
  /** Time that the reader was awake and connected. Leases are measured in it. */
  awakeMs: number
  /** Whether the reader can hear at all, as far as it knows. */
  isLinked: boolean
  /** Awake time at which an announcement of its own came back. */
  echoAtMs: number
  /** Awake time at which anybody's announcement came in: a question that is not answered says nothing where nothing else comes either. */
  heardAtMs: number
  /** Why the view may be wrong, or undefined. */
  stale: string | undefined
  /** Awake time since which losses are not believed. */
  doubtsSinceMs: number | undefined
}

/** A view that knows nobody. */
export function emptyDirectory(self: { readonly instance: string; readonly process: string }, nowMs: number, settings: DetectorSettings = DETECTOR): DirectoryState {
  return {
    self: self.instance, selfProcess: self.process, settings, members: new Map(), lastMs: nowMs, awakeMs: 0, isLinked: true, echoAtMs: 0, heardAtMs: 0, stale: undefined, doubtsSinceMs: undefined,
  }
}

/** What a reader says about a member. */
export function instanceOf(state: DirectoryState, { beat, info, liveness, heldUntilMs, heardAtMs }: Member): Instance {
  const present: InstanceState = beat.phase === 'draining' ? 'draining' : heldUntilMs > state.awakeMs ? 'held' : 'up'
  return {
    service: beat.service, instance: beat.instance, incarnation: beat.incarnation, state: liveness === 'up' ? present : liveness,
    health: beat.health, reasons: beat.reasons, version: info.version, addresses: info.addresses, zone: info.zone, weight: info.weight, tags: info.tags,
    accepts: info.accepts, sends: info.sends, startedAt: info.startedAt, inFlight: beat.inFlight, loopDelayMs: beat.loopDelayMs,
    silentMs: beat.instance === state.self ? 0 : Math.max(0, state.awakeMs - heardAtMs),
  }
}

/** Instances that are there as far as the reader knows, itself included. */
export function sizeOf(state: DirectoryState): number {
  let size = 0
  for (const { liveness } of state.members.values()) if (liveness === 'up' || liveness === 'suspect') size++
  return size
}

import { checkedName } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { checkedStream } from '../store/streams.ts'
import { ADDRESSES_MAX, TAGS_MAX, TEXT_LENGTH_MAX } from './announcement.ts'
import type { RecordEvents } from './record/record-log.ts'

/** What `discovery` takes. */
export interface DiscoveryOptions {
  /**
   * Name of this instance, such as a pod's name: a restart then replaces the old life instead of standing beside it. At most one
   * process at a time may use it. Default: a fresh id at each start.
   */
  readonly instance?: string
  /** Where it runs, for calls that stay near. */
  readonly zone?: string
  /** Share of calls that it wants compared with others, 0 to 1,000. Default 1; 0 for none. */
  readonly weight?: number
  /** What else there is to know, such as `gpu` or `canary`. */
  readonly tags?: readonly string[]
  /** Other ways to reach it, by protocol, such as `{ http: 'http://10.0.0.7:8080' }`. */
  readonly addresses?: Readonly<Record<string, string>>
  /** Services to hear of. Default `all`. Its own service is always among them, and so is what the directory is asked about. */
  readonly interest?: 'all' | readonly string[]
  /** Milliseconds between two announcements in a small cluster, 500 to 60,000. Default 4,000; a large cluster makes it longer. */
  readonly beatMs?: number
  /** Where transitions are recorded, so that `directory.at(time)` tells who was there. Needs a directory that hears all services. */
  readonly record?: RecordOptions
}

/** Where and for how long a directory records what it sees. */
export interface RecordOptions {
  /** Streams of a store that is open while the bus runs: `store.events`. Of the instances that share it, one writes at a time. */
  readonly events: RecordEvents
  /** Stream to write to; clusters that share a database need one each. Default `discovery-record`. */
  readonly stream?: string
  /** Milliseconds that transitions are kept for, from a day to ten years. Default 30 days. */
  readonly keptMs?: number
}

const RECORD: OptionNames = optionNames<RecordOptions>({ events: true, stream: true, keptMs: true })
const DAY_MS = 86_400_000

const OPTIONS: OptionNames = optionNames<DiscoveryOptions>({
  instance: true, zone: true, weight: true, tags: true, addresses: true, interest: true, beatMs: true, record: true,
})

/** Milliseconds between two announcements. */
export const BEAT_MS = 4_000

/** The options, checked and with their defaults. */
export interface CheckedOptions extends Omit<DiscoveryOptions, 'record'> {
  readonly weight: number
  readonly tags: readonly string[]
  readonly addresses: Readonly<Record<string, string>>
  readonly interest: 'all' | readonly string[]
  readonly beatMs: number
  readonly record?: Required<RecordOptions>
}

/** @throws `core.option_unknown`, `core.option_invalid`. */
export function checkedDiscovery(options: DiscoveryOptions): CheckedOptions {
  refuseUnknown('discovery', options, OPTIONS)
  const { instance, zone, weight = 1, tags = [], addresses = {}, interest = 'all', beatMs = BEAT_MS, record } = options
  const need = (holds: boolean, option: string, expected: string, actual: unknown): void => {
    if (!holds) throw new TrunklineError('core.option_invalid', { option: `${option} of discovery`, expected, actual: String(JSON.stringify(actual)).slice(0, 200) })
  }
  const isText = (value: unknown): boolean => typeof value === 'string' && value.length > 0 && value.length <= TEXT_LENGTH_MAX
  const textRule = `a text of 1 to ${TEXT_LENGTH_MAX} characters`
  need(instance === undefined || isText(instance), 'instance', textRule, instance)
  need(zone === undefined || isText(zone), 'zone', textRule, zone)
  need(typeof weight === 'number' && weight >= 0 && weight <= 1_000, 'weight', 'a number from 0 to 1,000', weight)
  need(Array.isArray(tags) && tags.length <= TAGS_MAX && tags.every(isText), 'tags', `at most ${TAGS_MAX} texts`, tags)
  const protocols = Object.entries(addresses)
  need(protocols.length < ADDRESSES_MAX && protocols.every(([name, value]) => isText(name) && isText(value) && name !== 'bus'), 'addresses', `at most ${ADDRESSES_MAX - 1} texts by protocol, "bus" excepted`, addresses)
  need(typeof beatMs === 'number' && beatMs >= 500 && beatMs <= 60_000, 'beatMs', 'a number from 500 to 60,000', beatMs)
  if (interest !== 'all') for (const service of interest) checkedName('interest of discovery', service)
  need(record === undefined || interest === 'all', 'interest', '"all" where a record is kept', interest)
  const given = { ...(instance === undefined ? {} : { instance }), ...(zone === undefined ? {} : { zone }), ...(record === undefined ? {} : { record: checkedRecord(record) }) }
  return { ...given, weight, tags: [...tags], addresses: { ...addresses }, interest: interest === 'all' ? 'all' : [...interest], beatMs }
}

function checkedRecord(record: RecordOptions): Required<RecordOptions> {
  refuseUnknown('record of discovery', record, RECORD, 'an object such as { events: store.events }')
  const { events, stream = 'discovery-record', keptMs = 30 * DAY_MS } = record
  if (typeof (events as Partial<RecordEvents> | undefined)?.append !== 'function') throw new TrunklineError('core.option_invalid', { option: 'record.events of discovery', expected: 'the events of a store', actual: typeof events })
  if (!(keptMs >= DAY_MS && keptMs <= 3_653 * DAY_MS)) throw new TrunklineError('core.option_invalid', { option: 'record.keptMs of discovery', expected: `a number from ${DAY_MS} to ${3_653 * DAY_MS}`, actual: String(keptMs) })
  return { events, stream: checkedStream(stream), keptMs }
}

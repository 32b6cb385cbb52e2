import { retryNames } from '../core/backoff.ts'
import { TrunklineError } from '../core/errors.ts'
import { IN_FLIGHT_LIMIT } from '../core/limits.ts'
import type { Logger } from '../core/logger.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { BatchOptions } from './batch-runner.ts'
import type {
  AnswerOptions, AskOptions, BatchGroupOptions, BroadcastOptions, BusDefaults, BusOptions, GroupOptions, HandleOptions, PublishOptions, ServiceInfo, TransportSource,
} from './options.ts'
import type { Transport } from './port.ts'
import { inRange, wholeInRange } from './retry-policy.ts'
import type { UnitPart } from './subscriptions.ts'

// The compiler knows these names; callers in plain JavaScript, and options that come out of a file, are checked here.

const BUS: OptionNames = optionNames<BusOptions>({
  service: true, transport: true, light: true, logger: true, defaults: true, contracts: true, middleware: true, extensions: true, clock: true, random: true,
  outbox: true, discovery: true, health: true, resilience: true, settings: true,
})
const SERVICE: OptionNames = optionNames<ServiceInfo>({ name: true, version: true })
const DEFAULTS: OptionNames = optionNames<BusDefaults>({
  retry: true, inFlightMax: true, handlerTimeoutMs: true, publishTimeoutMs: true, askTimeoutMs: true, drainTimeoutMs: true, bodyBytesMax: true,
})
const SUBSCRIBE = { inFlightMax: true, timeoutMs: true, retry: true, decide: true, name: true } as const
const UNIT = { within: true, prepare: true, batch: true } as const
const GROUP: OptionNames = optionNames<GroupOptions & BatchGroupOptions & Partial<UnitPart>>({ ...SUBSCRIBE, ...UNIT, group: true, order: true, from: true })
const BATCH: OptionNames = optionNames<BatchOptions>({ sizeMax: true, waitMs: true })
const BROADCAST: OptionNames = optionNames<BroadcastOptions>({ broadcast: true, inFlightMax: true, timeoutMs: true, name: true })
const HANDLE: OptionNames = optionNames<HandleOptions & Partial<UnitPart>>({ ...SUBSCRIBE, ...UNIT, order: true })
const ANSWER: OptionNames = optionNames<AnswerOptions>({ inFlightMax: true, timeoutMs: true, name: true })
const SEND = { id: true, correlationId: true, causationId: true, tenant: true, headers: true, traceparent: true, timeoutMs: true } as const
const PUBLISH: OptionNames = optionNames<PublishOptions>({ ...SEND, deadlineAtMs: true, immediately: true })
const ASK: OptionNames = optionNames<AskOptions<unknown>>({ ...SEND, signal: true, immediately: true, policy: true, balance: true, isIdempotent: true })

/** Checks what `createBus` was given, names and ranges. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkBusOptions(options: BusOptions): void {
  refuseUnknown('createBus', options, BUS, 'an object of options, such as { service: { name }, transport }')
  refuseUnknown('service of createBus', options.service, SERVICE, 'an object such as { name: "shop" }')
  checkTransport('transport', options.transport)
  if (options.light !== undefined) checkTransport('light', options.light)
  checkLogger(options.logger)
  for (const option of ['resilience', 'settings'] as const) {
    if (options[option] === undefined || typeof options[option].attach === 'function') continue
    throw new TrunklineError('core.option_invalid', { option, expected: `a value made by ${option}({ … })`, actual: `of the type ${typeof options[option]}` })
  }
  if (options.defaults !== undefined) checkDefaults(options.defaults)
}

/** Checks the names that `bus.on` was given. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkOnOptions(options: GroupOptions | BatchGroupOptions | BroadcastOptions): void {
  const isObject = typeof options === 'object' && options !== null
  refuseUnknown('bus.on', options, isObject && 'broadcast' in options ? BROADCAST : GROUP, 'an object such as { group: "reserve-stock" } or { broadcast: true }')
  if ('retry' in options && options.retry !== undefined) refuseUnknown('retry of bus.on', options.retry, retryNames)
  if ('batch' in options) refuseUnknown('batch of bus.on', options.batch, BATCH)
}

/** Checks the names that `bus.handle` was given. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkHandleOptions(options: HandleOptions & Partial<UnitPart>): void {
  refuseUnknown('bus.handle', options, HANDLE)
  if (options.retry !== undefined) refuseUnknown('retry of bus.handle', options.retry, retryNames)
}

/** Checks the names that `bus.answer` was given. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkAnswerOptions(options: AnswerOptions): void {
  refuseUnknown('bus.answer', options, ANSWER)
}

/** Checks the names that a publish, send or broadcast was given. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkPublishOptions(place: 'bus.publish' | 'bus.send' | 'bus.broadcast', options: PublishOptions | undefined): void {
  if (options !== undefined) refuseUnknown(place, options, PUBLISH)
}

/** Checks the names that an ask was given. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkAskOptions(options: AskOptions<unknown>): void {
  refuseUnknown('bus.ask', options, ASK)
  if (options.policy !== undefined && typeof options.policy.run !== 'function') {
    throw new TrunklineError('core.option_invalid', { option: 'policy of bus.ask', expected: 'a policy, such as timeout(500)', actual: `of the type ${typeof options.policy}` })
  }
}

/** The transport itself, also of a value that offers one beside other things. */
export function transportOf(given: Transport | TransportSource): Transport {
  return 'transport' in given ? given.transport : given
}

/** A caller without types may have given a factory that was not called. */
function checkTransport(option: string, given: Transport | TransportSource): void {
  const value: unknown = given
  const transport: Partial<Transport> | undefined = typeof value === 'object' && value !== null ? transportOf(given) : undefined
  if (typeof transport?.open === 'function' && typeof transport.capabilities === 'object') return
  const expected = 'a transport, such as memory(), nats({ … }), rabbitmq({ … }) or sqlite({ … })'
  throw new TrunklineError('core.option_invalid', { option, expected, actual: `of the type ${typeof value}` })
}

function checkLogger(logger: Logger | undefined): void {
  if (logger === undefined || typeof logger.child === 'function') return
  const expected = 'a pino logger, or an object with its methods trace, debug, info, warn, error and child'
  throw new TrunklineError('core.option_invalid', { option: 'logger', expected, actual: `of the type ${typeof logger}` })
}

function checkDefaults(defaults: BusDefaults): void {
  refuseUnknown('defaults of createBus', defaults, DEFAULTS)
  if (defaults.retry !== undefined) refuseUnknown('defaults.retry of createBus', defaults.retry, retryNames)
  const limits: readonly (readonly [keyof BusDefaults, number])[] = [
    ['handlerTimeoutMs', 86_400_000], ['publishTimeoutMs', 86_400_000], ['askTimeoutMs', 86_400_000], ['drainTimeoutMs', 3_600_000],
  ]
  for (const [name, max] of limits) if (defaults[name] !== undefined) inRange(`defaults.${name}`, defaults[name], 1, max)
  if (defaults.inFlightMax !== undefined) wholeInRange('defaults.inFlightMax', defaults.inFlightMax, 1, IN_FLIGHT_LIMIT)
  if (defaults.bodyBytesMax !== undefined) wholeInRange('defaults.bodyBytesMax', defaults.bodyBytesMax, 2, 16_777_216)
}

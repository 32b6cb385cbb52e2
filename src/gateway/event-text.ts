import { TrunklineError } from '../core/errors.ts'
import type { StreamedEvent } from './stream-route.ts'

/** Media type of server-sent events. */
export const EVENT_STREAM_TYPE = 'text/event-stream'
/** Name of the event that tells a caller of a broadcast that it may have missed some. */
export const GAP_EVENT = 'trunkline.gap'

const CURSOR = /^\d{1,19}$/

/** One event as text. JSON has no line breaks, so that one line of data holds it. */
export function eventText(event: StreamedEvent, cursor: bigint | undefined): string {
  return `${cursor === undefined ? '' : `id: ${cursor}\n`}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** What a stream begins with: how long to wait before coming again, and where to go on from then. */
export function openingText(retryMs: number, cursor: bigint | undefined): string {
  return `retry: ${retryMs}\n${cursor === undefined ? '' : `id: ${cursor}\n`}\n`
}

/** A sign of life, with the place up to which nothing was for this caller. */
export function heartbeatText(cursor: bigint | undefined): string {
  return `: alive\n${cursor === undefined ? '' : `id: ${cursor}\n`}\n`
}

/** Tells a caller who comes again that a broadcast cannot be resumed. */
export function gapText(): string {
  return `event: ${GAP_EVENT}\ndata: {}\n\n`
}

/**
 * Where a caller goes on from: the `Last-Event-ID` that its browser sends, or the parameter `lastEventId` of one that cannot set headers.
 *
 * @throws `gateway.request_malformed` for what is no place in a log.
 */
export function cursorOf(headers: Headers, url: URL): bigint | undefined {
  const given = headers.get('last-event-id') ?? url.searchParams.get('lastEventId')
  if (given === null || given === '') return undefined
  if (CURSOR.test(given)) return BigInt(given)
  throw new TrunklineError('gateway.request_malformed', { part: 'Last-Event-ID header', problem: 'it is none that this stream gave' })
}

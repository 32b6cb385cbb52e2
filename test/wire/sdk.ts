import { CloudEvent, HTTP, type Message } from 'cloudevents'

/** What the CloudEvents SDK makes of a message in HTTP headers, after its strict validation. */
export function readStrictly(headers: Readonly<Record<string, string>>, body: string): Record<string, unknown> {
  const message: Message = { headers: { ...headers }, body }
  const event = HTTP.toEvent(message)
  if (!(event instanceof CloudEvent)) throw new TypeError('one event was sent')
  if (!event.validate()) throw new TypeError('the event is not valid')
  return event.toJSON()
}

/** Attributes of an event that the SDK is to write. */
export type EventParts = ConstructorParameters<typeof CloudEvent<unknown>>[0] & { readonly id: string; readonly type: string; readonly partitionkey?: string }

/** An event as the SDK writes it: headers by name, and the body. */
export function writtenBySdk(parts: EventParts): { readonly headers: readonly (readonly [string, string])[]; readonly body: Buffer } {
  const { headers, body } = HTTP.binary(new CloudEvent(parts))
  return { headers: Object.entries(headers).map(([name, value]) => [name, String(value)] as const), body: Buffer.from(String(body)) }
}

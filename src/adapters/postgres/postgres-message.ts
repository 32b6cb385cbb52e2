import type { WireMessage } from '../../core/envelope.ts'

// A message's attributes as one compact JSON array in a text column beside the exact bytes of the body (P-23). JSON text
// escapes NUL and lone surrogates, which `text` itself would refuse.

/** Writes everything but the body. */
export function attributesText(message: WireMessage): string {
  return JSON.stringify([
    message.id, message.source, message.type, message.version, message.time, message.contentType, message.key,
    message.correlationId, message.causationId, message.deadline, message.tenant, message.traceparent, message.tracestate,
    message.hops, message.replyTo, message.headers, message.defect, message.outcome,
  ])
}

/** Reads what `attributesText` wrote. It never throws: a row that someone else has written comes back with `defect` set and `placeId` as its id. */
export function messageFrom(attributes: string, body: Uint8Array, placeId: string): WireMessage {
  const parts = parsed(attributes)
  const [id, source, type] = [textAt(parts, 0), textAt(parts, 1), textAt(parts, 2)]
  const isWhole = id !== undefined && source !== undefined && type !== undefined
  return {
    id: id ?? placeId,
    source: source ?? '',
    type: type ?? '',
    version: numberAt(parts, 3),
    time: textAt(parts, 4) ?? '',
    contentType: textAt(parts, 5) ?? 'application/json',
    key: textAt(parts, 6),
    correlationId: textAt(parts, 7),
    causationId: textAt(parts, 8),
    deadline: textAt(parts, 9),
    tenant: textAt(parts, 10),
    traceparent: textAt(parts, 11),
    tracestate: textAt(parts, 12),
    hops: numberAt(parts, 13),
    replyTo: textAt(parts, 14),
    outcome: textAt(parts, 17),
    headers: headersAt(parts, 15),
    body,
    defect: textAt(parts, 16) ?? (isWhole ? undefined : 'the row holds no attributes of a message'),
  }
}

/** The id in an attributes text, or undefined where there is none. */
export function idOf(attributes: string): string | undefined {
  return textAt(parsed(attributes), 0)
}

function parsed(attributes: string): readonly unknown[] {
  try {
    const parts: unknown = JSON.parse(attributes)
    return Array.isArray(parts) ? parts : []
  } catch {
    return []
  }
}

function textAt(parts: readonly unknown[], place: number): string | undefined {
  const part = parts[place]
  return typeof part === 'string' ? part : undefined
}

function numberAt(parts: readonly unknown[], place: number): number {
  const part = parts[place]
  return typeof part === 'number' ? part : 0
}

function headersAt(parts: readonly unknown[], place: number): Readonly<Record<string, string>> | undefined {
  const part = parts[place]
  if (typeof part !== 'object' || part === null || !hasOnlyTexts(part)) return undefined
  return part
}

function hasOnlyTexts(value: object): value is Readonly<Record<string, string>> {
  for (const part of Object.values(value)) if (typeof part !== 'string') return false
  return true
}

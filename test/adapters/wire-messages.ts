import type { WireMessage } from '../../src/core/envelope.ts'

/** A message for tests of adapters; `parts` replaces what matters to the test. */
export function wireMessage(parts: Partial<WireMessage> = {}): WireMessage {
  return {
    id: 'message-1',
    source: '/tests',
    type: 'tests.thing-happened',
    version: 1,
    time: '2026-01-02T03:04:05.678Z',
    contentType: 'application/json',
    key: undefined,
    correlationId: undefined,
    causationId: undefined,
    deadline: undefined,
    tenant: undefined,
    traceparent: undefined,
    tracestate: undefined,
    hops: 0,
    replyTo: undefined,
    outcome: undefined,
    headers: undefined,
    body: Buffer.from('{}'),
    defect: undefined,
    ...parts,
  }
}

/** A message with every attribute set, for round trips. */
export function fullWireMessage(parts: Partial<WireMessage> = {}): WireMessage {
  return wireMessage({
    key: 'größe "1"',
    correlationId: 'correlation-1',
    causationId: 'causation-1',
    deadline: '2026-01-02T03:05:05.678Z',
    tenant: 'tenant-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    tracestate: 'vendor=value',
    hops: 3,
    replyTo: 'inbox/token-1',
    outcome: 'ok',
    headers: { 'x-plain': 'value', 'x-wide': 'Straße 🚂' },
    body: Buffer.from('{"total":12,"name":"Zoë"}'),
    ...parts,
  })
}

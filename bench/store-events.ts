import { randomUUID } from 'node:crypto'
import type { NewEvent } from '../src/store/port.ts'

const BODY = Buffer.from(JSON.stringify({ orderId: 'order-0001', customer: 'customer-0001', lines: 'x'.repeat(180), totalCents: 12_345 }))

/** An event of about 250 bytes as the typed store would append it. */
export function orderEvent(): NewEvent {
  return {
    isPublic: false,
    message: {
      id: randomUUID(), source: '/bench', type: 'bench.order-placed', version: 1, time: '2026-01-02T03:04:05.678Z', contentType: 'application/json',
      key: undefined, correlationId: undefined, causationId: undefined, deadline: undefined, tenant: undefined, traceparent: undefined,
      tracestate: undefined, hops: 0, replyTo: undefined, outcome: undefined, headers: undefined, body: BODY, defect: undefined,
    },
  }
}

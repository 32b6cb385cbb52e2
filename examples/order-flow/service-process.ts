import type { ServiceName, ServicePlan } from './service.ts'
import { startNamed } from './services.ts'
import { type TransportChoice, transportOf } from './transports.ts'

/** What one process of the demo is told, as JSON in its only argument. */
export interface ProcessOrder {
  readonly service: ServiceName
  readonly transport: TransportChoice
  readonly plan: ServicePlan
}

async function runProcess(text: string): Promise<void> {
  const order = JSON.parse(text) as ProcessOrder
  // Ctrl-C reaches every process of the terminal; the supervisor decides when this one stops.
  process.on('SIGINT', () => {})
  // The channel closes when the supervisor is gone, in whatever way.
  process.on('disconnect', () => process.exit(1))
  const failed = (error: unknown): void => {
    process.stderr.write(`${order.service} gives up: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    process.exit(1)
  }
  const service = await startNamed(order.service, { ...order.plan, transport: await transportOf(order.transport), failed })
  process.send?.('ready')
  process.once('SIGTERM', () => {
    service.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`)
        process.exit(1)
      },
    )
  })
}

await runProcess(process.argv[2] ?? '')

import { startBilling } from './billing.ts'
import { startOrders } from './orders.ts'
import { startReporting } from './reporting.ts'
import type { RunningService, ServiceName, ServiceSetup } from './service.ts'
import { startShop } from './shop.ts'
import { startStock } from './stock.ts'
import { startTill } from './till.ts'

/** Starts a service by its name. */
export function startNamed(service: ServiceName, setup: ServiceSetup): Promise<RunningService> {
  switch (service) {
    case 'shop':
      return startShop(setup)
    case 'stock':
      return startStock(setup)
    case 'billing':
      return startBilling(setup)
    case 'reporting':
      return startReporting(setup)
    case 'orders':
      return startOrders(setup)
    case 'till':
      return startTill(setup)
  }
}

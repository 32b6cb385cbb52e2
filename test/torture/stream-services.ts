import { type Decider, type Store, category, decider, fact } from '../../src/index.ts'
import { MoneyMoved, MoneyReceived, Tallied, TransferAsked, TransferDone, TransferRequested } from './contracts.ts'
import { PATIENT, type Services, type Wish } from './services.ts'

interface Transfer extends Wish {
  readonly n: number
}

type Command = { readonly kind: 'ask'; readonly wish: Wish } | { readonly kind: 'move' | 'receive'; readonly transfer: Transfer }

interface Account {
  readonly asked: number
}

type AccountEvent = typeof TransferAsked | typeof MoneyMoved | typeof MoneyReceived

/**
 * An account is a stream. Only the number of a request is decided by what happened before: that nothing happens twice is left to
 * the inbox, because it is the inbox that is tried.
 */
const account: Decider<AccountEvent, Command, Account> = decider({
  category: 'account',
  events: [TransferAsked, MoneyMoved, MoneyReceived],
  initialState: (): Account => ({ asked: 0 }),
  decide: (command: Command, { asked }: Account) => {
    if (command.kind === 'ask') return fact(TransferAsked, { ...command.wish, n: asked + 1 })
    const { id, n, cents } = command.transfer
    return command.kind === 'move' ? fact(MoneyMoved, { id, n, cents: -cents }) : fact(MoneyReceived, command.transfer)
  },
  evolve: (state: Account, { type }) => (type === TransferAsked.type ? { asked: state.asked + 1 } : state),
  snapshot: { everyEvents: 50 },
})

/** Accounts as streams, transfers as decisions, effects as events: each handler is one append to one stream. */
export function streamServices(store: Store<object | undefined>): Services {
  return {
    ledger(bus) {
      bus.on(TransferRequested, { group: 'move', order: 'key', within: store, retry: PATIENT }, async ({ data }, { execute, publish }) => {
        await execute(account, data.from, { kind: 'move', transfer: data })
        publish(TransferDone, data)
      })
    },
    audit(bus) {
      bus.on(TransferDone, { group: 'watch', order: 'key', within: store, retry: PATIENT }, async ({ data }, { execute }) => {
        await execute(account, data.to, { kind: 'receive', transfer: data })
      })
    },
    tally() {
      store.events.subscribe({ name: 'tally', from: category('account'), contracts: [MoneyMoved], retry: PATIENT }, async ({ data, stream }, { append }) => {
        await append(`tally-${stream.slice('account-'.length)}`, 'any', [fact(Tallied, { id: data.id, n: data.n })])
      })
    },
    ask: (wish) =>
      store.transaction(async ({ execute, publish }) => {
        const { state } = await execute(account, wish.from, { kind: 'ask', wish })
        publish(TransferRequested, { ...wish, n: state.asked }, { id: wish.id })
      }),
  }
}

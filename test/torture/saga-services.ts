import { type Bus, type Store, type Unit, all, fact, runSagas, sagaEvents } from '../../src/index.ts'
import { rowsOf } from './rows.ts'
import {
  CONFIRM_MS, Confirm, Confirmed, Credit, CreditRefused, Credited, Debit, DebitRefused, Debited, LegDone, Refund, Refunded, TakeBack, TakenBack, TransferWanted, TransferWished,
  fateOf, transfer,
} from './saga-contracts.ts'
import { PATIENT, type Wish } from './services.ts'

/** Where it is written down what was done. */
interface SagaBooks {
  /** @param place of the effect. @param cents that the account has more. */
  done(unit: Unit<object | undefined>, place: string, account: string, cents: number, id: string): Promise<void>
  wished(unit: Unit<object | undefined>, wish: Wish): Promise<void>
  /** Writes down how sagas end, where the log does not say it to the ledger by itself. */
  ends(store: Store<object | undefined>): void
}

const rowBooks: SagaBooks = {
  async done({ tx }, place, account, cents, id) {
    const rows = rowsOf(tx)
    await rows.run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', place, account, 1, id)
    await rows.run('update t_account set cents = cents + ? where name = ?', cents, account)
  },
  async wished({ tx }, { id, from, to, cents }) {
    await rowsOf(tx).run('insert into t_request (id, name, target, n, cents) values (?, ?, ?, ?, ?)', id, from, to, 1, cents)
  },
  ends(store) {
    store.events.subscribe({ name: 'ends', from: all(), contracts: [sagaEvents.ended], retry: PATIENT }, async ({ data, stream }, { tx }) => {
      await rowsOf(tx).run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'ended', data.outcome, 1, stream.slice(stream.indexOf('-') + 1))
    })
  },
}

/** Each unit is one append to one stream. */
const streamBooks: SagaBooks = {
  async done({ append }, place, account, cents, id) {
    await append(`account-${account}`, 'any', [fact(LegDone, { id, place, cents })])
  },
  async wished({ append }, wish) {
    await append(`wish-${wish.id}`, 'any', [fact(TransferWished, wish)])
  },
  ends() {},
}

type Answer = typeof Debited | typeof DebitRefused | typeof Refunded | typeof Credited | typeof CreditRefused | typeof TakenBack

/** A transfer as a saga: what its steps do is not idempotent by itself, so that a second time would show. */
export class SagaServices {
  readonly #store: Store<object | undefined>
  readonly #books: SagaBooks

  constructor(store: Store<object | undefined>, hasRows: boolean) {
    this.#store = store
    this.#books = hasRows ? rowBooks : streamBooks
  }

  /** Does what the saga asks for. */
  legs(bus: Bus): void {
    this.#leg(bus, Debit, 'debit', -1, ({ id }) => (fateOf(id) === 'debit-refused' ? DebitRefused : Debited))
    this.#leg(bus, Refund, 'refund', 1, () => Refunded)
    this.#leg(bus, Credit, 'credit', 1, ({ id }) => (fateOf(id) === 'credit-refused' ? CreditRefused : Credited))
    this.#leg(bus, TakeBack, 'take-back', -1, () => TakenBack)
    bus.handle(Confirm, { within: this.#store, retry: PATIENT }, async ({ data }, { publish, schedule }) => {
      const fate = fateOf(data.id)
      // Alarm and answer meet in the saga: one of the two comes first, and the other changes nothing.
      if (fate === 'confirmed-late') await schedule(Confirmed, data, { afterMs: CONFIRM_MS, id: `confirmed-${data.id}` })
      else if (fate !== 'unconfirmed') publish(Confirmed, data)
    })
  }

  #leg(bus: Bus, contract: typeof Debit | typeof Refund | typeof Credit | typeof TakeBack, place: string, sign: 1 | -1, answerTo: (data: { readonly id: string }) => Answer): void {
    bus.handle(contract, { within: this.#store, retry: PATIENT }, async ({ data: { id, account, cents } }, unit) => {
      const answer = answerTo({ id })
      if (answer !== DebitRefused && answer !== CreditRefused) await this.#books.done(unit, place, account, sign * cents, id)
      unit.publish(answer, { id })
    })
  }

  /** Runs the sagas, and writes down how they end. */
  sagas(bus: Bus): void {
    runSagas({ bus, store: this.#store, sagas: [transfer] })
    this.#books.ends(this.#store)
  }

  ask(wish: Wish): Promise<void> {
    return this.#store.transaction(async (unit) => {
      await this.#books.wished(unit, wish)
      unit.publish(TransferWanted, wish, { id: wish.id })
    })
  }
}

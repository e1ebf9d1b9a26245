// SPDX-License-Identifier: GPL-2.0

void espnic_helper_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

bool espnic_helper_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

void espnic_helper_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

unsigned long espnic_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool espnic_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void espnic_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void espnic_helper_init_completion(struct completion *done)
{
	init_completion(done);
}

bool espnic_helper_wait_for_completion_ms(struct completion *done, unsigned int ms)
{
	return wait_for_completion_timeout(done, msecs_to_jiffies(ms)) != 0;
}

void espnic_helper_memzero_explicit(void *buf, size_t len)
{
	memzero_explicit(buf, len);
}

void *espnic_helper_kzalloc(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

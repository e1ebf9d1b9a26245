// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the debug kernel complain, in the way that a word written to
 * /sys/kernel/debug/espnic-provoke names.  For the tests of tools/guest/control
 * only: they show that a complaint fails the test that it came in.
 */
#include <linux/debugfs.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>

#define SIZE 96
#define LEAKS 4		/* a stale copy on some stack may hide one of them */
#define HOLD_SECONDS 15	/* longer than netdev_unregister_timeout_secs, which is 10 */
#define HELD "held0"

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);
static int value;
static int __rcu *protected = (int __rcu *)&value;
static unsigned int places = 64;
static struct net_device *held;
static netdevice_tracker held_tracker;

static void warning(void)
{
	WARN(1, "provoked\n");
}

/* Sleeps with a spinlock held. */
static void atomic_sleep(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

/* Follows an RCU pointer outside of a read section. */
static void rcu(void)
{
	value += *rcu_dereference(protected);
}

/* Shifts a number by more than it has bits. */
static void shift(void)
{
	value = 1 << READ_ONCE(places);
}

/* Takes two locks in both orders. */
static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void use_after_free(void)
{
	int *memory = kmalloc(SIZE, GFP_KERNEL);

	kfree(memory);
	if (memory)
		value = READ_ONCE(*memory);
}

/* Forgets memory. */
static void leak(void)
{
	int i;

	for (i = 0; i < LEAKS; i++) {
		int *memory = kmalloc(SIZE, GFP_KERNEL);

		if (memory)
			WRITE_ONCE(*memory, i);
	}
}

static void let_go(struct work_struct *work)
{
	netdev_put(held, &held_tracker);
	held = NULL;
}

static DECLARE_DELAYED_WORK(later, let_go);

/* Keeps a reference to a device, which is being deleted meanwhile. */
static void device(void)
{
	if (held)
		return;
	held = netdev_get_by_name(&init_net, HELD, &held_tracker, GFP_KERNEL);
	if (held)
		schedule_delayed_work(&later, HOLD_SECONDS * HZ);
}

static const struct {
	const char *word;
	void (*act)(void);
} acts[] = {
	{ "warning", warning },
	{ "atomic_sleep", atomic_sleep },
	{ "rcu", rcu },
	{ "shift", shift },
	{ "lock_order", lock_order },
	{ "use_after_free", use_after_free },
	{ "leak", leak },
	{ "device", device },
};

static ssize_t provoke(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char word[32] = "";
	int i;

	if (size >= sizeof(word) || copy_from_user(word, from, size))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(acts); i++) {
		if (sysfs_streq(word, acts[i].word)) {
			acts[i].act();
			return size;
		}
	}
	return -EINVAL;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = provoke,
};

static struct dentry *entry;

static int __init provoke_init(void)
{
	entry = debugfs_create_file("espnic-provoke", 0200, NULL, NULL, &operations);
	return PTR_ERR_OR_ZERO(entry);
}
module_init(provoke_init);

static void __exit provoke_exit(void)
{
	debugfs_remove(entry);
	flush_delayed_work(&later);
}
module_exit(provoke_exit);

MODULE_DESCRIPTION("Complaints on purpose");
MODULE_AUTHOR("The espnic authors");
MODULE_LICENSE("GPL");
